"""What the model's states take on one GPU: weights, gradients, optimizer, by ZeRO stage and offload.

Source: Rajbhandari et al., ZeRO (SC 2020), section 3: 2 + 2 + 12 bytes per parameter in mixed precision with
Adam, of which stage 1 divides the 12, stage 2 the gradients too, stage 3 everything.
"""

from __future__ import annotations

from dataclasses import dataclass

_MASTER_BYTES = 4
#: Two moments in fp32.
_ADAM_BYTES = 8


@dataclass(frozen=True, kw_only=True, slots=True)
class Placement:
    """A ZeRO stage and what of it lies in host memory."""

    stage: int
    offload: str | None = None
    """"optimizer", "optimizer+param", "param" or None."""

    @property
    def cost(self) -> tuple[bool, int, bool]:
        """The cheaper first: what stays on the GPU before what is offloaded, fewer collectives before more."""
        return self.offload is not None, self.stage, self.offload != "optimizer"


def state_bytes(
    placement: Placement,
    *,
    num_parameters: int,
    num_trainable: int,
    world_size: int,
    dtype: str,
) -> int:
    """Bytes of weights, gradients and optimizer states on one GPU; no activations, no buffers.

    Args:
        placement: Stage and offload.
        num_parameters: Scalars of the model.
        num_trainable: Of them, those that are trained.
        world_size: Data-parallel ranks.
        dtype: "fp32", "bf16" or "fp16".
    """
    stage, offload, world = placement.stage, placement.offload or "", max(1, world_size)
    width = 4 if dtype == "fp32" else 2
    weights = 0.0 if "param" in offload else num_parameters * width / (world if stage >= 3 else 1)
    gradients = num_trainable * width / (world if stage >= 2 else 1)
    master = 0 if dtype == "fp32" else _MASTER_BYTES
    optimizer = 0.0 if "optimizer" in offload else num_trainable * (master + _ADAM_BYTES)
    if stage >= 1:
        optimizer /= world
    return int(weights + gradients + optimizer)


def offload_of(zero: dict[str, object] | None) -> str | None:
    """What a `zero_optimization` section puts into host memory or onto NVMe."""
    if not isinstance(zero, dict):
        return None

    def is_on(name: str) -> bool:
        section = zero.get(name)
        return isinstance(section, dict) and section.get("device", "none") not in ("none", None)

    stage = zero.get("stage", 0)
    has_optimizer = is_on("offload_optimizer") and isinstance(stage, int) and stage >= 1
    has_param = is_on("offload_param") and stage == 3
    return "+".join(name for name, on in (("optimizer", has_optimizer), ("param", has_param)) if on) or None
