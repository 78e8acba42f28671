"""Which module is the first whose output is not finite, and whose fault that is: one more forward pass.

Three causes look alike in the loss and are told apart here: the module's weights are not finite, its output
goes beyond the range of its type (inputs and weights are finite), or an operation between two modules did it.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, dataclass
from typing import Any

import torch
from torch import nn


@dataclass(frozen=True, slots=True)
class NonFiniteModule:
    """Where a forward pass stops being finite.

    Attributes:
        name: The first module with a non-finite output.
        where: "output", or "input" when that was not finite either: an operation between the modules did it.
        after: The module that ran before it; its output was finite.
        weights_finite: This rank's weights of the module; None where it has none.
        dtype: Type of the value, such as "float16".
        value: "inf" or "nan".
        input_absmax: Largest absolute value that went in (or came out of the module before).
    """

    name: str
    where: str
    after: str | None
    weights_finite: bool | None
    dtype: str
    value: str
    input_absmax: float | None

    def record(self) -> dict[str, Any]:
        """As plain JSON values."""
        return asdict(self)


@dataclass(slots=True)
class _Seen:
    call: int
    name: str
    is_input: bool
    dtype: torch.dtype
    peak: torch.Tensor
    weights_finite: torch.Tensor | None


def first_non_finite_module(model: nn.Module, forward: Callable[[], Any]) -> NonFiniteModule | None:
    """Repeats a forward pass without gradients and watches the leaf modules.

    Per tensor one reduction stays on the device; they are looked at together afterwards, so nothing waits
    inside the pass. Under ZeRO-3 every rank must call this at the same time.

    Args:
        model: The bare model; hooks are put on its leaves and taken off again.
        forward: Runs the pass; its errors are not caught.

    Returns:
        The first module with a NaN or infinity coming out; None when all outputs are finite.
    """
    seen: list[_Seen] = []
    calls = itertools.count()

    def watch(name: str) -> Callable[[nn.Module, Any, Any], None]:
        def look(module: nn.Module, inputs: Any, output: Any) -> None:
            weights, call = _weights_finite(module), next(calls)
            for is_input, tensors in ((True, inputs), (False, output)):
                for tensor in _tensors(tensors):
                    peak = tensor.detach().abs().amax().float()
                    seen.append(_Seen(call, name, is_input, tensor.dtype, peak, weights))

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
    return _first_bad(seen)


def _first_bad(seen: list[_Seen]) -> NonFiniteModule | None:
    if not seen:
        return None
    peaks = torch.stack([entry.peak for entry in seen]).tolist()
    # Only outputs are judged: a mask of -inf may go in.
    first = next((i for i, p in enumerate(peaks) if not (seen[i].is_input or math.isfinite(p))), None)
    if first is None:
        return None
    bad = seen[first]
    earlier = list(zip(seen[:first], peaks, strict=False))
    went_in = [peak for entry, peak in earlier if entry.call == bad.call and entry.is_input]
    is_input = any(not math.isfinite(peak) for peak in went_in)
    last = next((entry for entry, _ in reversed(earlier) if entry.call != bad.call), None)
    near = [p for e, p in earlier if last is not None and e.call == last.call] if is_input else went_in
    return NonFiniteModule(
        name=bad.name,
        where="input" if is_input else "output",
        after=last.name if last is not None else None,
        weights_finite=None if bad.weights_finite is None else bool(bad.weights_finite),
        dtype=str(bad.dtype).removeprefix("torch."),
        value="nan" if math.isnan(peaks[first]) else "inf",
        input_absmax=max(near, default=None),
    )


def _weights_finite(module: nn.Module) -> torch.Tensor | None:
    """Whether the module's own weights, whole at this moment, are finite; None without weights."""
    flags = [
        torch.isfinite(p.detach()).all()
        for p in module.parameters(recurse=False)
        if p.is_floating_point() and p.numel() > 0
    ]
    return torch.stack(flags).all() if flags else None


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
