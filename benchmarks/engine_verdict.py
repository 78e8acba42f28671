"""Does the real DeepSpeed engine get through two steps with this value? For numbers that are checked only in use.

One process, one rank, CPU, fp32, a linear layer. The engine's answer counts only where the original passes.
"""

from __future__ import annotations

import contextlib
import copy
import json
import os
import socket
from pathlib import Path
from typing import Any

from benchmarks.deepspeed_verdict import quiet
from benchmarks.mutations import Mutation, at

_OPTIMIZER = {"type": "AdamW", "params": {"lr": 1e-4, "torch_adam": True}}
_STAGES = (0, 2)


class EngineVerdict:
    """Runs the engine; the same question is asked once."""

    def __init__(self) -> None:
        """Starts a process group of one rank.

        Raises:
            RuntimeError: torch or DeepSpeed cannot start one here.
        """
        import deepspeed

        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            port = free.getsockname()[1]
        os.environ |= {
            "MASTER_ADDR": "127.0.0.1",
            "MASTER_PORT": str(port),
            "RANK": "0",
            "LOCAL_RANK": "0",
            "WORLD_SIZE": "1",
        }
        with quiet():
            deepspeed.init_distributed("gloo", verbose=False)
        self._known: dict[str, str | None] = {}

    def raises(self, original: dict[str, Any], mutation: Mutation, filled: dict[str, Any]) -> bool | None:
        """Whether the mistake alone makes the engine fail; None where the original fails here as well.

        Args:
            original: Filled in.
            mutation: What was changed.
            filled: The changed config, filled in.
        """
        pointer = mutation.pointer
        before, after = _reduced(original, pointer), _reduced(filled, mutation.new_pointer)
        for stage in _STAGES:
            if self._failure(before, stage) is not None:
                return None
            if self._failure(after, stage) is not None:
                return True
        return False

    def _failure(self, config: dict[str, Any], stage: int) -> str | None:
        config = {"zero_optimization": {"stage": stage}, **config}
        key = json.dumps(config, sort_keys=True)
        if key not in self._known:
            self._known[key] = _run(config)
        return self._known[key]


def _reduced(config: dict[str, Any], pointer: str) -> dict[str, Any]:
    """A job with nothing of the config but the top-level key under which the pointer is."""
    top = pointer.split("/")[1]
    result: dict[str, Any] = {"train_micro_batch_size_per_gpu": 1, "optimizer": copy.deepcopy(_OPTIMIZER)}
    result[top] = copy.deepcopy(at(config, "/" + top))
    if top == "flops_profiler" and isinstance(result[top], dict):
        result[top].pop("output_file", None)  # the file of somebody else's job
        if "profile_step" not in pointer:
            result[top]["profile_step"] = 1  # within the steps that are taken
    if top == "optimizer" and str(result[top].get("type")).lower() in ("adam", "adamw"):
        # The kernels of FusedAdam and CPUAdam are not built here; torch's takes the same numbers.
        result[top].setdefault("params", {})["torch_adam"] = True
        for name in ("bias_correction", "set_grad_none", "adam_w_mode"):
            result[top]["params"].pop(name, None)
    return result


def _run(config: dict[str, Any]) -> str | None:
    import deepspeed
    import torch

    torch.manual_seed(0)
    model = torch.nn.Linear(4, 4)
    try:
        with quiet(), Path(os.devnull).open("w") as nowhere, contextlib.redirect_stdout(nowhere):
            engine, *_ = deepspeed.initialize(
                model=model, model_parameters=list(model.parameters()), config=copy.deepcopy(config)
            )
            for _ in range(2):
                engine.backward(engine(torch.randn(1, 4)).square().mean())
                engine.step()
    except Exception as error:  # noqa: BLE001 - whatever it raises is the answer
        return f"{type(error).__name__}: {error}"
    return None
