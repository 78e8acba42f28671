"""E104 emulated-device."""

from __future__ import annotations

from collections.abc import Iterable

from hotfire.rules.engine import Rule
from hotfire.rules.evidence import Evidence, Finding, Severity


class EmulatedDevice(Rule):
    """Something of the target was emulated; what that leaves open.

    Why:
        On a CPU the numbers of a training step are real, and CUDA streams, kernels, NCCL, speed and GPU
        memory are not exercised. A shallow copy has the real widths and not the real depth.

    Example:
        fp16 on a CPU without fp16: overflow and loss scaling are real, speed is not.

    Fix:
        Nothing to fix. For what is left open: a worker with the target's GPUs.

    Source:
        Measured on torch 2.13 CPU with DeepSpeed 0.19.8.
    """

    id = "E104"
    name = "emulated-device"
    severity = Severity.INFO
    needs = ("environment",)

    def examine(self, evidence: Evidence) -> Iterable[Finding]:
        """One finding for everything that was emulated."""
        environment = evidence.environment
        assert environment is not None
        if not environment.emulated:
            return
        yield Finding(
            message=f"Emulated here: {'; '.join(text.rstrip('.') for text in environment.emulated)}.",
            evidence={"emulated": list(environment.emulated), "device": environment.device},
        )
