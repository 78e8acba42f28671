"""Where each optimizer keeps this rank's share of the gradients and of the fp32 weights, just before a step.

DeepSpeed has one engine and six places: the attribute depends on the class of `engine.optimizer`, which
depends on stage, precision, accumulation dtype and offload. The paths below were measured on deepspeed 0.19.8
(norms equal the engine's to 2e-6 at every stage and precision, with and without LoRA and offload). For a
class that is not listed there is no layout, and nothing is measured: no number is better than a wrong one.

All gradients are *scaled* by the loss scale and averaged over ranks and accumulation; divide by `scale()`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

Piece = tuple[nn.Parameter, int, torch.Tensor]
"""A parameter, the index of its optimizer group, and this rank's piece of a tensor of it (any shape)."""


@dataclass(frozen=True, slots=True)
class Layout:
    """How to read one optimizer.

    Attributes:
        replicated: Every rank holds every whole gradient; else each element is held by exactly one rank.
        gradients: This rank's pieces of the reduced gradients. Only valid between the backward pass of the
            last micro-batch and the step.
        masters: This rank's pieces of the weights that the optimizer updates (fp32 where there is a master
            copy).
        scale: The loss scale that the gradients still carry.
        param_groups: The optimizer's groups, index as in the pieces.
    """

    replicated: bool
    gradients: Callable[[], Iterator[Piece]]
    masters: Callable[[], Iterator[Piece]]
    scale: Callable[[], float]
    param_groups: Callable[[], list[dict[str, Any]]]


def layout_of(optimizer: Any, scaler: Any | None = None) -> Layout | None:
    """The layout of `engine.optimizer`, or None when its class is not known.

    Args:
        optimizer: The engine's.
        scaler: The engine's own gradient scaler (stage 0 under torch_autocast in fp16), if it has one.
    """
    if scaler is not None or getattr(optimizer, "torch_autocast_gradscaler", None) is not None:
        return None  # torch_autocast in fp16: whether the gradients still carry the scale differs by stage
    if isinstance(optimizer, torch.optim.Optimizer):
        return plain_layout(optimizer)
    describe = _LAYOUTS.get(type(optimizer).__name__)
    return describe(optimizer) if describe is not None else None


def plain_layout(optimizer: torch.optim.Optimizer, scale: Callable[[], float] = lambda: 1.0) -> Layout:
    """Plain PyTorch: gradients on the parameters, which are their own masters.

    Args:
        optimizer: Any torch optimizer. (DeepSpeed at stage 0 in fp32 uses it bare.)
        scale: The gradient scaler's scale, where there is a scaler.
    """

    def parameters() -> Iterator[tuple[nn.Parameter, int]]:
        for index, group in enumerate(optimizer.param_groups):
            for parameter in group["params"]:
                yield parameter, index

    def gradients() -> Iterator[Piece]:
        for parameter, index in parameters():
            if parameter.grad is not None:
                yield parameter, index, parameter.grad

    def masters() -> Iterator[Piece]:
        for parameter, index in parameters():
            yield parameter, index, parameter.data

    return Layout(True, gradients, masters, scale, lambda: optimizer.param_groups)


def _unfused(optimizer: Any) -> Layout | None:
    """FP16_UnfusedOptimizer: stage 0 in bf16 and fp16.

    At stage 0 the engine of 0.19.8 divides by a scale that it never put on the loss: dividing here too gives
    the gradient that the optimizer really gets.
    """

    def gradients() -> Iterator[Piece]:
        for index, group in enumerate(optimizer.fp16_groups):
            for parameter in group:
                if parameter.grad is not None:
                    yield parameter, index, parameter.grad

    def masters() -> Iterator[Piece]:
        for index, group in enumerate(optimizer.fp16_groups):
            for parameter, master in zip(group, optimizer.fp32_groups[index], strict=True):
                yield parameter, index, master

    return Layout(True, gradients, masters, lambda: _static_scale(optimizer), lambda: optimizer.param_groups)


def _fused(optimizer: Any) -> Layout | None:
    """FP16_Optimizer: stage 0 in bf16 and fp16 with FusedAdam; the masters of a group are one flat tensor."""

    def gradients() -> Iterator[Piece]:
        for index, group in enumerate(optimizer.fp16_groups):
            for parameter in group:
                if parameter.grad is not None:
                    yield parameter, index, parameter.grad

    def masters() -> Iterator[Piece]:
        for index, group in enumerate(optimizer.fp16_groups):
            offset = 0
            for parameter in group:
                yield parameter, index, optimizer.fp32_groups_flat[index].narrow(0, offset, parameter.numel())
                offset += parameter.numel()

    return Layout(True, gradients, masters, lambda: _static_scale(optimizer), lambda: optimizer.param_groups)


def _static_scale(optimizer: Any) -> float:
    config = getattr(optimizer, "loss_scale_config", None)
    # Up to 0.18.2 the scale is an attribute of the optimizer itself.
    return float(config.cur_scale if config is not None else optimizer.cur_scale)


def _bf16(optimizer: Any) -> Layout | None:
    """BF16_Optimizer: stage 1 with bf16 weights and fp32 gradient accumulation, without offload."""

    def mine() -> Iterator[tuple[nn.Parameter, int, int]]:
        for index, group in enumerate(optimizer.bf16_groups):
            for position, parameter in enumerate(group):
                if parameter._hp_mapping is not None:  # noqa: SLF001
                    yield parameter, index, position

    def gradients() -> Iterator[Piece]:
        for parameter, index, position in mine():
            address = parameter._hp_mapping.lp_fragment_address  # noqa: SLF001
            whole = optimizer.fp32_groups_gradient_dict[index][position].view(-1)
            yield parameter, index, whole.narrow(0, address.start, address.numel)

    def masters() -> Iterator[Piece]:
        for parameter, index, _ in mine():
            yield parameter, index, parameter._hp_mapping.hp_fragment  # noqa: SLF001

    return Layout(False, gradients, masters, lambda: 1.0, lambda: optimizer.param_groups)


def _zero_1_and_2(optimizer: Any) -> Layout | None:
    """DeepSpeedZeroOptimizer: stages 1 and 2."""
    if getattr(optimizer, "zenflow", False) or getattr(optimizer, "has_moe_layers", False):
        return None

    def gradients() -> Iterator[Piece]:
        for index, group in enumerate(optimizer.params_in_partition):
            if optimizer.cpu_offload:  # averaged_gradients is empty then
                for parameter in group:
                    position = parameter._index_in_param_group  # noqa: SLF001
                    yield parameter, index, parameter._hp_mapping.get_lp_grad_fragment(position)  # noqa: SLF001
                continue
            # Zeros between and after the pieces are padding: not a parameter's.
            pieces = [
                p for p in optimizer.averaged_gradients[index] if not getattr(p, "_zero_padding", False)
            ]
            for parameter, piece in zip(group, pieces, strict=False):
                yield parameter, index, piece

    def masters() -> Iterator[Piece]:
        for index, group in enumerate(optimizer.params_in_partition):
            for parameter in group:
                if parameter._hp_mapping is not None:  # noqa: SLF001
                    yield parameter, index, parameter._hp_mapping.hp_fragment  # noqa: SLF001

    return Layout(
        False, gradients, masters, lambda: float(optimizer.loss_scale), lambda: optimizer.param_groups
    )


def _zero_3(optimizer: Any) -> Layout | None:
    """DeepSpeedZeroOptimizer_Stage3. Its `fp16_groups` are sub-groups, not optimizer groups."""
    if getattr(optimizer, "swap_optimizer", False) or getattr(optimizer, "zenflow", False):
        return None  # gradients and masters on NVMe: reading them would swap
    from deepspeed.utils import safe_get_local_fp32_param, safe_get_local_grad

    def mine() -> Iterator[tuple[nn.Parameter, int]]:
        for sub_group, group in enumerate(optimizer.fp16_groups):
            for parameter in group:
                yield parameter, _optimizer_group(optimizer, sub_group)

    def gradients() -> Iterator[Piece]:
        if optimizer.offload_optimizer:
            for parameter, index in mine():
                piece = safe_get_local_grad(parameter)
                if piece is not None:
                    yield parameter, index, piece
            return
        for sub_group, group in enumerate(optimizer.fp16_groups):
            pieces = optimizer.averaged_gradients.get(sub_group)
            for parameter, piece in zip(group, pieces or [], strict=False):
                yield parameter, _optimizer_group(optimizer, sub_group), piece

    def masters() -> Iterator[Piece]:
        for parameter, index in mine():
            piece = safe_get_local_fp32_param(parameter)
            if piece is not None:
                yield parameter, index, piece

    return Layout(
        False, gradients, masters, lambda: float(optimizer.loss_scale), lambda: optimizer.param_groups
    )


def _optimizer_group(optimizer: Any, sub_group: int) -> int:
    """The optimizer's group that a stage-3 sub-group belongs to."""
    mapping = getattr(optimizer, "sub_group_to_group_id", None)
    return int(mapping[sub_group]) if mapping else 0


_LAYOUTS: dict[str, Callable[[Any], Layout | None]] = {
    "FP16_UnfusedOptimizer": _unfused,
    "FP16_Optimizer": _fused,
    "BF16_Optimizer": _bf16,
    "DeepSpeedZeroOptimizer": _zero_1_and_2,
    "DeepSpeedZeroOptimizer_Stage3": _zero_3,
}
