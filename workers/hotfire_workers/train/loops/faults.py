"""TEST CODE: faults that a test asks to be injected into the ranks (`TrialRequest.faults`).

Nothing here runs in a preflight: the service has no field that reaches it. The tests use it to see that a
probe can fail, and that crashes and hangs of one rank are reported as what they are.

    {"scale_gradient": {"rank": 1, "factor": 2.0, "where": "engine"}}
    {"nan_loss": {"rank": 1, "step": 2}}
    {"die": {"rank": 1, "step": 2, "how": "raise" | "kill" | "exit" | "segv"}}
    {"hang": {"rank": 1, "step": 2}}

`where` is "engine" (after our measurement and before the engine's: only the engine sees it), "probe" (only
our measurement sees it) or "local" (on the rank's own gradient before it is reduced: both see it). `step`
counts attempts from 1.
"""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Iterable
from typing import Any

import torch
from torch import nn


class InjectedFault(RuntimeError):  # noqa: N818 - a fault is what it is
    """What the fault `die` with `how: raise` raises."""


class Faults:
    """The faults of one rank; does nothing when none was asked for."""

    def __init__(self, spec: dict[str, Any], rank: int) -> None:
        self._spec = {
            name: f for name, f in spec.items() if isinstance(f, dict) and f.get("rank", rank) == rank
        }

    def _due(self, name: str, step: int) -> dict[str, Any] | None:
        fault = self._spec.get(name)
        if fault is None or fault.get("step", step) != step:
            return None
        return fault

    def before_micro_batch(self, step: int, micro_batch: int) -> None:
        """Dies or hangs, if that is due at this step's first micro-batch."""
        if micro_batch != 1:
            return
        if fault := self._due("die", step):
            _die(str(fault.get("how", "raise")))
        if self._due("hang", step):
            time.sleep(24 * 3600)

    def on_loss(self, loss: torch.Tensor, step: int, micro_batch: int) -> torch.Tensor:
        """Returns the loss that the backward pass shall see."""
        fault = self._due("nan_loss", step)
        if fault is None or micro_batch != fault.get("micro_batch", 1):
            return loss
        return loss * float("nan")

    def hook_gradients(self, model: nn.Module) -> None:
        """Scales the rank's own gradients before they are reduced (`where: local`)."""
        fault = self._spec.get("scale_gradient")
        if fault is None or fault.get("where", "engine") != "local":
            return
        factor = float(fault["factor"])
        for parameter in model.parameters():
            if parameter.requires_grad:
                parameter.register_hook(lambda gradient: gradient * factor)

    def probe_factor(self) -> float:
        """What the local part of our measurement is multiplied by (`where: probe`)."""
        fault = self._spec.get("scale_gradient")
        return float(fault["factor"]) if fault and fault.get("where", "engine") == "probe" else 1.0

    def after_measurement(self, gradients: Iterable[torch.Tensor]) -> None:
        """Scales the reduced gradients in place, where only the engine sees it (`where: engine`)."""
        fault = self._spec.get("scale_gradient")
        if fault is None or fault.get("where", "engine") != "engine":
            return
        for gradient in gradients:
            gradient.mul_(float(fault["factor"]))


def _die(how: str) -> None:
    if how == "kill":
        os.kill(os.getpid(), signal.SIGKILL)
    if how == "segv":
        os.kill(os.getpid(), signal.SIGSEGV)
    if how == "exit":
        os._exit(3)
    raise InjectedFault("this rank was told to die")
