"""R117."""

import dataclasses
import math
from typing import Any

import pytest
from tests.unit.rules.factory import check, evidence, reference, step, steps, trial

from hotfire.rules.evidence import Evidence, Outcome, Severity, Step, Trial, TrialOutcome
from hotfire.rules.run import RanksDiverge
from hotfire.rules.run.outcome import judge_trial

RULE = RanksDiverge()


def with_ranks(number: int, *values: dict[str, Any], **changes: Any) -> Step:
    """A healthy step in which each rank says what is given for it."""
    made = step(number, **changes)
    shared = {"applied": made.applied, "grad_norm": made.grad_norm, "learning_rate": made.learning_rate}
    made.ranks = [
        dataclasses.replace(rank, **(shared | value)) for rank, value in zip(made.ranks, values, strict=True)
    ]
    return made


def healthy(number: int, *, used: float | None = None) -> Step:
    return with_ranks(
        number,
        {"local_grad_norm": 0.9 + 0.01 * number, "gradient_used": used},
        {"local_grad_norm": 1.0 + 0.02 * number, "gradient_used": used and used * (1 + 1e-5)},
    )


def replicas(*differing: dict[str, Any], step: int = 1) -> list[dict[str, Any]]:
    return [
        {"step": step, "num_compared": 21, "num_differing": len(differing), "differing": list(differing)},
        {"step": 8, "num_compared": 21, "num_differing": len(differing), "differing": list(differing)},
    ]


def given(own: Trial) -> Evidence:
    return evidence(trials=[own, reference()])


def test_good() -> None:
    own = trial(
        steps=[healthy(1, used=0.7), *(healthy(n) for n in range(2, 9))],
        facts={"replicas": replicas()},
    )
    findings, outcome = check(RULE, given(own))
    assert findings == []
    assert outcome.outcome is Outcome.PASSED


def test_bad_weights_differ() -> None:
    found = {"parameter": "model.norm.weight", "ranks": [1]}
    own = trial(facts={"replicas": replicas(found, step=1)})
    (finding,), _ = check(RULE, given(own))
    assert finding.severity is Severity.ERROR
    assert "1 parameter differs between the ranks after step 1, of 21" in finding.message
    assert (finding.location.parameter, finding.location.rank, finding.location.step) == (
        "model.norm.weight",
        1,
        1,
    )
    judged = judge_trial(own, given(own))
    assert (judged.outcome, judged.kinds) == (TrialOutcome.DOES_NOT_TRAIN, ("ranks-diverge",))


def test_bad_clipped_on_one_rank_only_though_the_weights_agree() -> None:
    ranks = ({"gradient_used": 0.7054}, {"gradient_used": 0.00705})
    own = trial(steps=[with_ranks(1, *ranks), *steps()[1:]], facts={"replicas": replicas()})
    (finding,), _ = check(RULE, given(own))
    assert finding.location.rank == 1
    assert "0.7054 on rank 0, 0.00705 on rank 1" in finding.message


def stale(**changes: Any) -> Trial:
    first = with_ranks(4, {"local_grad_norm": 0.98}, {"local_grad_norm": 1.02}, **changes)
    second = with_ranks(5, {"local_grad_norm": 1.13}, {"local_grad_norm": 1.02})
    return trial(steps=[first, second])


def test_bad_stale_shard() -> None:
    (finding,), _ = check(RULE, given(stale()))
    assert (finding.location.step, finding.location.rank) == (5, 1)
    assert finding.evidence["stale_ranks"] == [1]


def test_good_the_same_gradient_where_the_weights_did_not_move() -> None:
    assert check(RULE, given(stale(learning_rate=0.0)))[0] == []
    again = [with_ranks(n, {"local_grad_norm": 0.98}, {"local_grad_norm": 1.02}) for n in (4, 5)]
    assert check(RULE, given(trial(steps=again)))[0] == []  # on all ranks: the same rows, nothing moved


@pytest.mark.parametrize(
    ("name", "values"),
    [
        ("applied", (True, False)),
        ("grad_norm", (0.9, 0.8)),
        ("grad_norm", (0.9, math.inf)),
        ("loss_scale", (4096.0, 2048.0)),
        ("learning_rate", (1e-3, 1e-4)),
    ],
)
def test_bad_a_shared_number_differs(name: str, values: tuple[Any, Any]) -> None:
    own = trial(steps=[with_ranks(1, *({name: value} for value in values))])
    (finding,), _ = check(RULE, given(own))
    assert finding.evidence[name] == {"0": values[0], "1": values[1]}


def test_good_non_finite_alike_and_rounding() -> None:
    for pair in ((math.nan, math.inf), (0.906, 0.906 * (1 + 1e-6)), (None, 0.9)):
        own = trial(steps=[with_ranks(1, *({"grad_norm": value} for value in pair))])
        assert check(RULE, given(own))[0] == []


def test_skips_one_rank_and_no_numbers() -> None:
    assert check(RULE, given(trial(num_ranks=1)))[1].outcome is Outcome.SKIPPED
    # Stage 3 keeps no whole copies, and nothing else was recorded.
    own = trial(facts={"replicas": [{"step": 1, "num_compared": 0, "num_differing": 0, "differing": []}]})
    assert check(RULE, given(own))[1].outcome is Outcome.SKIPPED
