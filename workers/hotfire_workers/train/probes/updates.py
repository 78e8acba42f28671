"""How far the weights moved in one step, and whether weight decay alone explains it.

The fp32 master pieces are cloned before the step and compared after it, so this costs one more copy of this
rank's
masters: done on the first, the last scheduled and the last peak step only.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import distributed as dist

from hotfire_workers.train.probes.gradients import Parameters
from hotfire_workers.train.probes.layout import Layout

_DECAY_TOLERANCE = 1e-3
_FLOAT32_EPSILON = 2.0**-24
"""Half a unit in the last place: a weight of size w can only be decayed to within w times this."""


@dataclass(slots=True)
class Update:
    """The movement of one step, over all ranks.

    Attributes:
        ratio: ‖Δw‖ / ‖w‖ over the trainable parameters; 0.0 when nothing moved, None when there are no
            weights.
        moved: Sum of squares of Δw per parameter, shape (num parameters,), float64.
        weights: Sum of squares of w before the step per parameter, same shape.
        num_decayed_only: Tensors that moved, and whose movement is that of weight decay alone.
        unchanged_share: Share of the elements of the masters that did not change at all.
    """

    ratio: float | None
    moved: torch.Tensor
    weights: torch.Tensor
    num_decayed_only: int
    unchanged_share: float | None


class UpdateProbe:
    """Measures one step: `before()` just before the optimizer's step, `after()` just after it."""

    def __init__(self, layout: Layout, parameters: Parameters, device: torch.device) -> None:
        self._layout = layout
        self._parameters = parameters
        self._device = device
        self._before: list[tuple[int, torch.Tensor, float]] = []

    def before(self) -> None:
        """Keeps this rank's masters and each one's decay factor (learning rate times weight decay)."""
        groups = self._layout.param_groups()
        self._before = []
        for parameter, group, piece in self._layout.masters():
            position = self._parameters.index.get(id(parameter))
            if position is not None:
                decay = float(groups[group].get("lr") or 0.0) * float(
                    groups[group].get("weight_decay") or 0.0
                )
                self._before.append((position, piece.detach().clone(), decay))

    def after(self) -> Update:
        """Compares. A collective call."""
        count = len(self._parameters)
        # Rows: moved, weights, residual against decay, decay expected here, elements unchanged, elements.
        sums = torch.zeros(6, count, dtype=torch.float64, device=self._device)
        now = [p for p in self._layout.masters() if id(p[0]) in self._parameters.index]
        for (position, old, decay), (_, _, new) in zip(self._before, now, strict=True):
            before = old.to(torch.float32)
            change = new.detach().to(torch.float32) - before
            sums[0, position] += change.norm().double().square()
            sums[1, position] += before.norm().double().square()
            sums[2, position] += change.add(before, alpha=decay).norm().double().square()
            sums[3, position] += float(decay > 0)
            sums[4, position] += (change == 0).sum()
            sums[5, position] += change.numel()
        self._before = []
        if dist.is_initialized():
            dist.all_reduce(sums)
            if self._layout.replicated:
                sums /= dist.get_world_size()
        moved, weights, residual, decayed, unchanged, elements = sums.cpu()
        allowed = _DECAY_TOLERANCE * moved.sqrt() + _FLOAT32_EPSILON * weights.sqrt()
        decayed_only = (moved > 0) & (decayed > 0) & (residual.sqrt() <= allowed)
        total = float(weights.sum())
        return Update(
            ratio=math.sqrt(float(moved.sum()) / total) if total > 0 else (None if total == 0 else math.nan),
            moved=moved,
            weights=weights,
            num_decayed_only=int(decayed_only.sum()),
            unchanged_share=float(unchanged.sum() / elements.sum()) if float(elements.sum()) > 0 else None,
        )
