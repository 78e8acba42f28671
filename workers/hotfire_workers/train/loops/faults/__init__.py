"""TEST CODE: faults that a test asks to be injected into the ranks (`TrialRequest.faults`).

Nothing here runs in a preflight: the service has no field that reaches it. The tests use it to see that a
probe can fail, what the faults that need GPUs to happen look like, and that crashes and hangs of one rank are
reported as what they are.

    {"scale_gradient": {"rank": 1, "factor": 2.0, "where": "engine"}}
    {"lost_bucket": {"parameters": "layers.1", "keep": "local" | "zeros"}}
    {"stale_gradient": {"rank": 1, "from_step": 2}}
    {"clip": {"rank": 1, "value": 0.01}}
    {"nan_loss": {"rank": 1, "step": 2, "micro_batch": 1 | "all"}}
    {"scale_loss": {"factor": 2.0}}
    {"noise": {"size": 1e-3}}
    {"same_rows": {"rank": 1}}
    {"die": {"rank": 1, "step": 2, "how": "raise" | "kill" | "exit" | "segv"}}
    {"hang": {"rank": 1, "step": 2}}
    {"memory_limit": {"bytes": 500000000}}   beyond what the rank holds at its first micro-batch

Every fault takes `rank` (else all ranks), `step` (that attempt only, from 1), `from_step` (from there on) and
`when`: {pointer into the trial's DeepSpeed config: value}, such as {"zero_optimization/overlap_comm": true}.
With it a fault stands for a key that is guilty on GPUs only.

`where` of `scale_gradient` is "engine" (after our measurement and before the engine's: only the engine sees
it), "probe" (only our measurement sees it) or "local" (on the rank's own gradient before it is reduced: both
see it). `clip` is clipping on one rank alone, `noise` a loss that no run repeats, `same_rows` a rank that
gets rank 0's rows. Faults in gradients need the probes to be on.
"""

from __future__ import annotations

import os
import random
import signal
import time
from collections.abc import Iterable
from typing import Any

import torch
from torch import nn

from hotfire_workers.train.loops.faults import memory
from hotfire_workers.train.loops.faults.gradients import LostBucket, StaleGradient, clip_alone
from hotfire_workers.train.probes.layout import Layout


class InjectedFault(RuntimeError):  # noqa: N818 - a fault is what it is
    """What the fault `die` with `how: raise` raises."""


class Faults:
    """The faults of one rank; does nothing when none was asked for.

    Args:
        spec: As described above.
        rank: This rank.
        config: The trial's DeepSpeed config, for `when`; None in a reference.
    """

    def __init__(self, spec: dict[str, Any], rank: int, config: dict[str, Any] | None = None) -> None:
        self._rank = rank
        self._spec = {
            name: f
            for name, f in spec.items()
            if isinstance(f, dict) and f.get("rank", rank) == rank and _applies(f.get("when") or {}, config)
        }
        lost, stale = self._spec.get("lost_bucket"), self._spec.get("stale_gradient")
        self._lost = LostBucket(lost) if lost is not None else None
        self._stale = StaleGradient() if stale is not None else None

    def _due(self, name: str, step: int) -> dict[str, Any] | None:
        fault = self._spec.get(name)
        if fault is None or fault.get("step", step) != step or step < fault.get("from_step", step):
            return None
        return fault

    @property
    def data_rank(self) -> int:
        """Whose rows this rank gets."""
        return 0 if "same_rows" in self._spec else self._rank

    def before_micro_batch(self, step: int, micro_batch: int) -> None:
        """Dies, hangs or runs short, if that is due at this step's first micro-batch."""
        if micro_batch != 1:
            return
        if step == 1 and (fault := self._due("memory_limit", step)):
            memory.limit_growth(int(fault["bytes"]))
        if fault := self._due("die", step):
            _die(str(fault.get("how", "raise")))
        if self._due("hang", step):
            time.sleep(24 * 3600)

    def on_loss(self, loss: torch.Tensor, step: int, micro_batch: int) -> torch.Tensor:
        """Returns the loss that the backward pass shall see."""
        fault = self._due("nan_loss", step)
        if fault is not None and fault.get("micro_batch", 1) in (micro_batch, "all"):
            return loss * float("nan")
        if fault := self._due("scale_loss", step):
            loss = loss * float(fault["factor"])
        if fault := self._due("noise", step):
            loss = loss * (1 + float(fault["size"]) * random.SystemRandom().random())
        return loss

    def hook_gradients(self, model: nn.Module) -> None:
        """Hooks what must be seen or changed before the gradients are reduced."""
        if self._lost is not None:
            self._lost.watch(model)
        fault = self._spec.get("scale_gradient")
        if fault is None or fault.get("where", "engine") != "local":
            return
        factor = float(fault["factor"])
        for parameter in model.parameters():
            if parameter.requires_grad:
                parameter.register_hook(lambda gradient: gradient * factor)

    def on_engine(self, engine: Any) -> None:
        """Changes the engine, once it is there."""
        if (fault := self._spec.get("clip")) is not None:
            clip_alone(engine, float(fault["value"]))

    def before_measurement(self, layout: Layout, step: int) -> None:
        """Spoils the reduced gradients before anybody looks at them."""
        if self._lost is not None:
            self._lost.strike(layout, due=self._due("lost_bucket", step) is not None)
        if self._stale is not None:
            self._stale.strike(layout, due=self._due("stale_gradient", step) is not None)

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


def _applies(when: dict[str, Any], config: dict[str, Any] | None) -> bool:
    """Whether the config has all the values that a fault is tied to."""
    for pointer, wanted in when.items():
        value: Any = config
        for key in pointer.strip("/").split("/"):
            value = value.get(key) if isinstance(value, dict) else None
        if value != wanted:
            return False
    return True


def _die(how: str) -> None:
    if how == "kill":
        os.kill(os.getpid(), signal.SIGKILL)
    if how == "segv":
        os.kill(os.getpid(), signal.SIGSEGV)
    if how == "exit":
        os._exit(3)
    raise InjectedFault("this rank was told to die")
