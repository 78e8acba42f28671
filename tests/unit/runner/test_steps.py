from __future__ import annotations

import math
from typing import Any

import pytest

from hotfire.rules.evidence import Phase
from hotfire_workers.runner.steps import merge


def _merge(*lines: dict[str, Any], num_ranks: int = 2) -> Any:
    return merge(1, dict(enumerate(lines)), num_ranks)


def test_loss_is_the_mean_and_tokens_are_the_sum() -> None:
    step = _merge({"loss": 1.0, "num_supervised_tokens": 3}, {"loss": 2.0, "num_supervised_tokens": 4})
    assert (step.loss, step.num_supervised_tokens) == (1.5, 7)


@pytest.mark.parametrize(
    ("losses", "expected"),
    [
        ((1.0, math.nan), math.nan),
        ((math.inf, 1.0), math.inf),
        ((math.inf, -math.inf), math.nan),
        ((None, 1.0), None),
    ],
)
def test_non_finite_losses_propagate(losses: tuple[float | None, ...], expected: float | None) -> None:
    step = _merge(*({"loss": loss} for loss in losses))
    assert step.loss == expected or (expected is not None and math.isnan(expected) and math.isnan(step.loss))


def test_a_missing_rank_makes_the_mean_unknown_unless_it_is_non_finite_already() -> None:
    assert _merge({"loss": 1.0, "num_supervised_tokens": 3}).loss is None
    assert _merge({"num_supervised_tokens": 3}).num_supervised_tokens is None
    assert math.isnan(_merge({"loss": math.nan}).loss)


def test_zero_tokens_are_a_number() -> None:
    assert _merge({"num_supervised_tokens": 0}, {"num_supervised_tokens": 0}).num_supervised_tokens == 0


def test_the_first_rank_that_knows_is_believed_and_the_slowest_is_timed() -> None:
    step = _merge(
        {"phase": "PEAK", "step_seconds": 0.1}, {"grad_norm": 2.0, "applied": False, "step_seconds": 0.4}
    )
    assert (step.phase, step.grad_norm, step.applied, step.step_seconds) == (Phase.PEAK, 2.0, False, 0.4)


def test_every_ranks_micro_batches_are_kept() -> None:
    batch = {"loss": math.inf, "rows": [1, 2], "num_tokens": 9, "num_supervised_tokens": 4}
    step = _merge({"micro_batches": [batch]}, {"micro_batches": [], "first_non_finite_parameter": "w"})
    assert step.ranks[0].micro_batches[0].rows == [1, 2]
    assert math.isinf(step.ranks[0].micro_batches[0].loss or 0)
    assert step.ranks[1].first_non_finite_parameter == "w"


def test_what_each_rank_says_for_itself_is_kept() -> None:
    step = _merge(
        {"grad_norm": 0.9, "applied": True, "local_grad_norm": 0.6, "gradient_used": 0.7},
        {"grad_norm": 0.8, "applied": False, "local_grad_norm": 0.5},
    )
    assert (step.grad_norm, step.applied) == (0.9, True)  # the step's: the first rank is believed
    assert [(rank.grad_norm, rank.applied) for rank in step.ranks] == [(0.9, True), (0.8, False)]
    assert [(rank.local_grad_norm, rank.gradient_used) for rank in step.ranks] == [(0.6, 0.7), (0.5, None)]
