"""What the model's states take: weights, gradients, optimizer, by ZeRO stage and offload.

Sources: Rajbhandari et al., ZeRO (SC 2020), section 3: 2 + 2 + 12 bytes per parameter in mixed precision with Adam,
of which stage 1 divides the 12, stage 2 the gradients too, stage 3 everything; what DeepSpeed 0.19.8 allocates
besides: `deepspeed/runtime/zero/{stage_1_and_2,stage3}.py`, `fp16/fused_optimizer.py`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from hotfire.dsconfig.memory_setting import Setting

_FP32_BYTES = 4
#: Under offload the host has, for each scalar: the fp32 copy, its gradient in fp32, and 16-bit copies of both.
_HOST_COPIES_BYTES = 4 + 4 + 2
#: Swap buffers of NVMe offload (`buffer_count` of 4 for optimizer states).
_NVME_BUFFERS = 4
_NVME_PARAM_BUFFERS = 5 * 100_000_000 * 2


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


@dataclass(frozen=True, kw_only=True, slots=True)
class States:
    """Bytes of one rank."""

    weights: float
    gradients: float
    """As they are when a backward pass is over."""
    early_gradients: float
    """As they are when one begins."""
    optimizer: float
    step: float
    """What the optimizer's step takes besides weights and optimizer, gradients included: no activation is alive."""
    host: float = 0.0
    """On the host, under offload."""

    @property
    def total(self) -> float:
        """What stays on the GPU."""
        return self.weights + self.gradients + self.optimizer


def states_of(setting: Setting, *, num_parameters: int, num_trainable: int) -> States:
    """The states of one rank.

    Args:
        setting: The job.
        num_parameters: Scalars of the model, an adapter's included.
        num_trainable: Of them, those that are trained.
    """
    stage, world, width = setting.stage, setting.world_size, setting.width
    own = num_trainable / (world if stage >= 1 else 1)
    share = setting.offload_ratio if setting.offloads_optimizer else 0.0
    weights = num_parameters * width / (world if stage >= 3 else 1)
    on_host = 0.0
    if setting.offloads_param:
        on_host, weights = (_NVME_PARAM_BUFFERS if setting.is_nvme else weights), 0.0
    if setting.secondary > 1:
        weights += num_parameters * width / setting.secondary
    gradients = num_trainable * setting.gradient_bytes / (world if stage >= 2 else 1)
    if stage >= 2:
        gradients *= 1 - share
    # Stage 3 allocates them once; others keep them from one micro-batch to the next only.
    early = gradients if stage == 3 or setting.accumulation > 1 else 0.0
    # ZeRO keeps a copy of what a rank updates in fp32 too; without ZeRO the weights themselves are updated then.
    master = 0 if stage == 0 and setting.dtype == "fp32" else setting.master_bytes
    optimizer = own * (master + setting.moment_bytes) * (1 - share)
    host_optimizer = own * share * (_HOST_COPIES_BYTES + setting.moment_bytes)
    if setting.is_nvme and host_optimizer:
        host_optimizer = min(host_optimizer, _NVME_BUFFERS * _FP32_BYTES * min(setting.sub_group, own))
    return States(
        weights=weights,
        gradients=gradients,
        early_gradients=early,
        optimizer=optimizer,
        step=(1 - share) * _step_bytes(setting, own),
        host=on_host + host_optimizer,
    )


def _step_bytes(setting: Setting, own: float) -> float:
    """Gradients as they are, in one piece and in fp32; then the optimizer's temporaries."""
    width = setting.gradient_bytes
    in_fp32 = 0 if width == _FP32_BYTES else _FP32_BYTES
    if setting.stage == 0:
        # DeepSpeed's fused optimizer joins the fp32 copies into one; others take them one by one.
        copies = in_fp32 * (2 if setting.has_own_optimizer else 1)
        return own * (width + copies + setting.step_bytes)
    if setting.stage == 3:
        return own * width + min(own, setting.sub_group) * (_FP32_BYTES + setting.step_bytes)
    # By now only the own partition's gradients are left, and they are freed before the optimizer runs.
    return own * max(2 * width + in_fp32, _FP32_BYTES + setting.step_bytes)


def state_bytes(
    placement: Placement,
    *,
    num_parameters: int,
    num_trainable: int,
    world_size: int,
    dtype: str,
) -> int:
    """Bytes of weights, gradients and Adam's states on one GPU; no activations, no buffers.

    Args:
        placement: Stage and offload.
        num_parameters: Scalars of the model.
        num_trainable: Of them, those that are trained.
        world_size: Data-parallel ranks.
        dtype: "fp32", "bf16" or "fp16".
    """
    from hotfire.dsconfig.memory_setting import Setting

    setting = Setting(
        placement=placement,
        dtype=dtype,
        world_size=max(1, world_size),
        gradient_bytes=4 if dtype == "fp32" else 2,
    )
    return int(states_of(setting, num_parameters=num_parameters, num_trainable=num_trainable).total)


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
