"""How far the weights moved in one step, whether weight decay alone explains it, and what rounding swallowed.

This rank's pieces of the masters (the weights that the optimizer updates: fp32 where there is a master copy)
are cloned before the step and compared after it. That costs one more copy of them, and a byte per element for
"has a gradient": done on the first, the last scheduled and the last peak step only.
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
        num_moved: Tensors that moved.
        num_decayed_only: Of them, those whose movement is that of weight decay alone.
        unchanged_share: Share of the elements of the masters that did not change at all.
        reached: Elements with a gradient other than 0 per parameter, same shape; None where the gradients
            could not be laid beside the masters.
        rounded_away: Of them, those that did not change: their update was lost in rounding.
    """

    ratio: float | None
    moved: torch.Tensor
    weights: torch.Tensor
    num_moved: int
    num_decayed_only: int
    unchanged_share: float | None
    reached: torch.Tensor | None
    rounded_away: torch.Tensor | None

    @property
    def rounded_away_share(self) -> float | None:
        """Over all trainable parameters; None where it is not known."""
        return self.share_rounded_away(slice(None))

    def share_rounded_away(self, members: slice | list[int]) -> float | None:
        """Of the elements of these parameters that have a gradient, the share that did not move."""
        if self.reached is None or self.rounded_away is None:
            return None
        reached = float(self.reached[members].sum())
        return float(self.rounded_away[members].sum()) / reached if reached > 0 else None


class UpdateProbe:
    """Measures one step: `before()` just before the optimizer's step, `after()` just after it."""

    def __init__(self, layout: Layout, parameters: Parameters, device: torch.device) -> None:
        self._layout = layout
        self._parameters = parameters
        self._device = device
        self._before: list[tuple[int, torch.Tensor, float]] = []
        self._has_gradient: dict[int, torch.Tensor] = {}

    def before(self) -> None:
        """Keeps this rank's masters, and of each the decay factor and where it has a gradient.

        The decay factor is learning rate times weight decay. After the step the gradients are gone.
        """
        self._has_gradient = {
            id(parameter): piece.detach().ne(0).flatten()
            for parameter, _, piece in self._layout.gradients()
            if piece is not None and id(parameter) in self._parameters.index
        }
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
        # Rows: moved, weights, residual against decay, decay expected here, elements unchanged, elements,
        # those with a gradient, of them those unchanged, pieces whose gradient does not fit the master.
        sums = torch.zeros(9, count, dtype=torch.float64, device=self._device)
        now = [p for p in self._layout.masters() if id(p[0]) in self._parameters.index]
        for (position, old, decay), (parameter, _, new) in zip(self._before, now, strict=True):
            before = old.to(torch.float32)
            change = new.detach().to(torch.float32) - before
            sums[0, position] += change.norm().double().square()
            sums[1, position] += before.norm().double().square()
            sums[2, position] += change.add(before, alpha=decay).norm().double().square()
            sums[3, position] += float(decay > 0)
            still = (change == 0).flatten()
            # Counting non-zeros is 20 times as fast on a CPU as summing booleans.
            sums[4, position] += torch.count_nonzero(still)
            sums[5, position] += change.numel()
            has_gradient = self._has_gradient.get(id(parameter))
            if has_gradient is None:
                continue  # no gradient reached it
            if has_gradient.numel() != still.numel() or has_gradient.device != still.device:
                sums[8, position] += 1
                continue
            sums[6, position] += torch.count_nonzero(has_gradient)
            sums[7, position] += torch.count_nonzero(still & has_gradient)
        self._before, self._has_gradient = [], {}
        if dist.is_initialized():
            dist.all_reduce(sums)
            if self._layout.replicated:
                sums /= dist.get_world_size()
        moved, weights, residual, decayed, unchanged, elements, reached, rounded, misfits = sums.cpu()
        fits = not bool(misfits.any())
        allowed = _DECAY_TOLERANCE * moved.sqrt() + _FLOAT32_EPSILON * weights.sqrt()
        decayed_only = (moved > 0) & (decayed > 0) & (residual.sqrt() <= allowed)
        total = float(weights.sum())
        return Update(
            ratio=math.sqrt(float(moved.sum()) / total) if total > 0 else (None if total == 0 else math.nan),
            moved=moved,
            weights=weights,
            num_moved=int((moved > 0).sum()),
            num_decayed_only=int(decayed_only.sum()),
            unchanged_share=float(unchanged.sum() / elements.sum()) if float(elements.sum()) > 0 else None,
            reached=reached if fits else None,
            rounded_away=rounded if fits else None,
        )
