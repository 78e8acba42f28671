"""C118."""

from typing import Any

import pytest
from tests.unit.rules.config.lint import HEALTHY, cured, lint

from hotfire.rules.config import MisplacedClipping as Rule
from hotfire.rules.evidence import Severity

IN_OPTIMIZER = {"optimizer": {"type": "AdamW", "params": {"lr": 1e-5, "max_grad_norm": 0.5}}}


def test_bad_in_the_optimizer() -> None:
    (finding,) = lint(Rule, IN_OPTIMIZER)
    assert finding.severity is Severity.WARNING
    assert finding.location.config_path == "/deepspeed/optimizer/params/max_grad_norm"
    assert [o.op for o in finding.fix.patch] == ["remove", "add"]
    assert cured(Rule, IN_OPTIMIZER, finding.fix) == []


def test_bad_in_the_optimizer_beside_the_right_one() -> None:
    given = IN_OPTIMIZER | {"gradient_clipping": 1.0}
    (finding,) = lint(Rule, given)
    assert [o.op for o in finding.fix.patch] == ["remove"]
    assert cured(Rule, given, finding.fix) == []


@pytest.mark.parametrize("value", ["-1", "-0.5", "NaN", "Infinity"])
def test_bad_value(value: str) -> None:
    given = f'{{"gradient_clipping": {value}}}'
    (finding,) = lint(Rule, given)
    assert finding.location.line == 1
    assert cured(Rule, given, finding.fix) == []


@pytest.mark.parametrize(("clipping", "wanted"), [(0, 1.0), (1.0, 0.0)])
@pytest.mark.parametrize("loop", ["ACCELERATE", "DEEPSPEED"])
def test_bad_against_intent(clipping: float, wanted: float, loop: str) -> None:
    given, training = {"gradient_clipping": clipping}, {"loop": loop, "max_grad_norm": wanted}
    (finding,) = lint(Rule, given, training=training)
    for fix in (finding.fix, *finding.alternatives):
        assert cured(Rule, given, fix, training=training) == []


@pytest.mark.parametrize(
    ("config", "training"),
    [
        (HEALTHY, {}),
        ({"gradient_clipping": 0}, {}),
        ({"gradient_clipping": "auto"}, {"loop": "TRAINER", "max_grad_norm": 0.0}),
        ({"gradient_clipping": 1.0}, {"loop": "DEEPSPEED", "max_grad_norm": 0.5}),
        ({}, {"loop": "DEEPSPEED", "max_grad_norm": 1.0}),
    ],
)
def test_good(config: Any, training: dict[str, Any]) -> None:
    assert lint(Rule, config, training=training) == []
