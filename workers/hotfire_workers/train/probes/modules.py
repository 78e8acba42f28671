"""Which module is the first whose output is not finite: one more forward pass, only when needed."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any

import torch
from torch import nn


def first_non_finite_module(model: nn.Module, forward: Callable[[], Any]) -> str | None:
    """Repeats a forward pass without gradients and watches the leaf modules.

    Per module one reduction stays on the device; they are looked at together afterwards, so nothing waits
    inside the pass. Under ZeRO-3 every rank must call this at the same time.

    Args:
        model: The bare model; hooks are put on its leaves and taken off again.
        forward: Runs the pass; its errors are not caught.

    Returns:
        The name of the first module with a NaN or infinity in its output; None when all outputs are finite.
    """
    names: list[str] = []
    peaks: list[torch.Tensor] = []

    def watch(name: str) -> Callable[[nn.Module, Any, Any], None]:
        def look(_module: nn.Module, _inputs: Any, output: Any) -> None:
            for tensor in _tensors(output):
                names.append(name)
                peaks.append(tensor.detach().abs().amax().float())

        return look

    leaves = [(n, m) for n, m in model.named_modules() if n and next(m.children(), None) is None]
    handles = [module.register_forward_hook(watch(name)) for name, module in leaves]
    try:
        # The pass must not move the random numbers of the steps that follow.
        with torch.random.fork_rng(enabled=True), torch.no_grad():
            forward()
    finally:
        for handle in handles:
            handle.remove()
    if not peaks:
        return None
    finite = torch.isfinite(torch.stack(peaks)).tolist()
    return next((name for name, good in zip(names, finite, strict=True) if not good), None)


def _tensors(output: Any) -> Iterator[torch.Tensor]:
    """Floating-point tensors of a module's output."""
    if isinstance(output, torch.Tensor):
        if output.is_floating_point() and output.numel() > 0:
            yield output
    elif isinstance(output, Mapping):
        for value in output.values():
            yield from _tensors(value)
    elif isinstance(output, list | tuple):
        for value in output:
            yield from _tensors(value)
