"""M103."""

import pytest
from tests.unit.rules.factory import check, data, evidence, row, training

from hotfire.rules.evidence import Outcome, Severity
from hotfire.rules.model import LengthOverPositions

RULE = LengthOverPositions()


def _given(positions: str | None, *, length: int | None = 4096, longest: int = 3000):
    rows = [row(n, num_tokens=longest if n == 4 else 40) for n in range(1, 21)]
    given = evidence(training=training(max_length=length), data=data(rows, max_length=length))
    given.model.max_positions, given.model.positions = 2048, positions
    return given


@pytest.mark.parametrize(
    ("positions", "longest", "severity"),
    [
        ("learned", 3000, Severity.ERROR),
        ("rotary", 3000, Severity.WARNING),
        ("learned", 100, Severity.INFO),
        ("rotary", 100, Severity.INFO),
    ],
)
def test_bad(positions: str, longest: int, severity: Severity) -> None:
    (finding,), _ = check(RULE, _given(positions, longest=longest))
    assert finding.severity is severity
    assert finding.message.startswith("max_length 4096 is beyond the 2048 positions of the model.")
    assert [(o.path, o.value) for o in finding.fix.patch] == [("/training/max_length", 2048)]


def test_bad_no_length_is_set() -> None:
    (finding,), _ = check(RULE, _given("learned", length=None))
    assert finding.location.row == 4


def test_good() -> None:
    assert check(RULE, evidence())[0] == []
    assert check(RULE, _given("relative"))[0] == []
    assert check(RULE, _given("learned", length=2048, longest=2048))[0] == []


def test_skips_where_the_config_does_not_say() -> None:
    given = evidence()
    given.model.max_positions = None
    assert check(RULE, given)[1].outcome is Outcome.SKIPPED
