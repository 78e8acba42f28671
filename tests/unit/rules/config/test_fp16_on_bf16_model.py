"""C111."""

from typing import Any

import pytest
from tests.unit.rules.config.lint import cured, evidence_of, lint, run

from hotfire.rules.config import Fp16OnBf16Model as Rule
from hotfire.rules.evidence import Outcome, Severity

CONFIG: dict[str, Any] = {"fp16": {"enabled": True}, "zero_optimization": {"stage": 2}}
MODEL = {"model_type": "glm", "torch_dtype": "bfloat16"}


@pytest.mark.parametrize(
    "model", [MODEL, {"dtype": "bfloat16"}, {"text_config": {"dtype": "torch.bfloat16"}}]
)
def test_bad(model: dict[str, Any]) -> None:
    (finding,) = lint(Rule, CONFIG, model=model)
    assert finding.severity is Severity.WARNING
    assert finding.location.config_path == "/deepspeed/fp16/enabled"
    assert "65504" in finding.message
    assert cured(Rule, CONFIG, finding.fix, model=model) == []


def test_bad_by_the_arguments() -> None:
    config = {"fp16": {"enabled": "auto"}, "bf16": {"enabled": "auto"}}
    training = {"loop": "TRAINER", "fp16": True}
    (finding,) = lint(Rule, config, training=training, model=MODEL)
    assert cured(Rule, config, finding.fix, training=training, model=MODEL) == []


def test_a_gpu_without_bf16_gets_no_patch_to_it() -> None:
    (finding,) = lint(Rule, CONFIG, model=MODEL, gpu_type="V100")
    assert (finding.fix.patch, "fp32" in finding.fix.description) == ([], True)


def test_good() -> None:
    assert lint(Rule, {"bf16": {"enabled": True}}, model=MODEL) == []
    assert lint(Rule, CONFIG, model={"torch_dtype": "float16"}) == []


def test_good_a_model_that_is_made_here() -> None:
    evidence = evidence_of(CONFIG, model=MODEL)
    evidence.spec["model"] = {"path": "model", "init": "INIT_RANDOM"}
    assert run(Rule, evidence)[1].outcome is Outcome.PASSED


def test_skips_where_the_model_is_not_known() -> None:
    assert run(Rule, evidence_of(CONFIG))[1].outcome is Outcome.SKIPPED
    assert run(Rule, evidence_of(CONFIG, model={"model_type": "glm"}))[1].outcome is Outcome.SKIPPED
