"""Device and precision of a trial: what the config asks for, and fp16 on a CPU that has none."""

from __future__ import annotations

from typing import Any

import torch

FP16_EMULATION = (
    "fp16 ran on a CPU without fp16 arithmetic: overflow, rounding and loss scaling are real, "
    "the speed is not"
)


def emulate_fp16() -> bool:
    """Lets DeepSpeed train in fp16 where its accelerator says that the device cannot.

    Returns:
        True when the answer had to be changed; False where fp16 is supported anyway.
    """
    from deepspeed.accelerator import get_accelerator

    accelerator = get_accelerator()
    if accelerator.is_fp16_supported():
        return False
    accelerator.is_fp16_supported = lambda: True
    return True


def precision_of(config: dict[str, Any], training: dict[str, Any], loop: str) -> str:
    """The precision that a job trains in: `"auto"` and, where accelerate loads it, absent sections are filled in.

    Args:
        config: The DeepSpeed config.
        training: The training arguments.
        loop: The Trainer and accelerate add the section that the arguments ask for
            (`DeepSpeedPlugin.set_mixed_precision`, accelerate 1.15); nobody does in a loop of one's own.

    Returns:
        "fp16", "bf16" or "fp32".
    """
    for name in ("fp16", "bf16"):
        section = config.get(name)
        if name == "bf16" and section is None:
            section = config.get("bfloat16")
        enabled = section.get("enabled", False) if isinstance(section, dict) else False
        if enabled == "auto" or (section is None and loop != "DEEPSPEED"):
            enabled = bool(training.get(name))
        if enabled:
            return name
    return "fp32"


def uses_16_bits(config: dict[str, Any], precision: str) -> bool:
    """Whether any tensor of a step has 16 bits: the whole model, or what DeepSpeed's own autocast computes."""
    autocast = config.get("torch_autocast")
    return precision != "fp32" or (isinstance(autocast, dict) and bool(autocast.get("enabled")))


def dtype_of(precision: str) -> torch.dtype:
    """The torch dtype of a precision name."""
    return {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}[precision]


def device_of(local_rank: int) -> torch.device:
    """This rank's device, made the current one.

    DeepSpeed's accelerator decides (the environment variable DS_ACCELERATOR overrides its own search), so
    that the reference runs on the same kind of device as the candidate.
    """
    from deepspeed.accelerator import get_accelerator

    accelerator = get_accelerator()
    if accelerator.device_name() == "cpu":
        return torch.device("cpu")
    accelerator.set_device(local_rank)
    return torch.device(accelerator.device_name(local_rank))
