"""C117."""

from typing import Any

import pytest
from tests.unit.rules.config.lint import HEALTHY, cured, evidence_of, lint, run

from hotfire.rules.config import Zero3MoeLeaf as Rule
from hotfire.rules.evidence import Outcome, Severity

CONFIG: dict[str, Any] = {"zero_optimization": {"stage": 3}}
DEEPSEEK = {"model_type": "deepseek_v3", "n_routed_experts": 256}
MIXTRAL = {"model_type": "mixtral", "num_local_experts": 8}


def with_leaf(**leaf: Any) -> dict[str, Any]:
    return {"zero_optimization": {"stage": 3, "leaf_module": leaf}}


def test_bad() -> None:
    (finding,) = lint(Rule, CONFIG, model=DEEPSEEK)
    assert finding.severity is Severity.WARNING
    assert finding.location.config_path == "/deepspeed/zero_optimization/leaf_module"
    assert "256 experts" in finding.message
    assert "DeepseekV3MoE" in finding.message
    for fix in (finding.fix, *finding.alternatives):
        assert cured(Rule, CONFIG, fix, model=DEEPSEEK) == []


def test_bad_another_block_is_registered() -> None:
    given = with_leaf(classes=["MixtralSparseMoeBlock"])
    (finding,) = lint(Rule, given, model=DEEPSEEK)
    assert cured(Rule, given, finding.fix, model=DEEPSEEK) == []


def test_bad_before_the_key_was_there_it_is_done_in_code() -> None:
    (finding,) = lint(Rule, CONFIG, model=MIXTRAL, version="0.17.6")
    assert "set_z3_leaf_modules(model, [MixtralSparseMoeBlock])" in finding.fix.description
    assert finding.fix.patch == []


def test_the_text_part_counts() -> None:
    model = {"model_type": "qwen3_vl_moe", "text_config": {"model_type": "qwen3_vl_moe", "num_experts": 128}}
    assert len(lint(Rule, CONFIG, model=model)) == 1


@pytest.mark.parametrize(
    ("config", "model"),
    [
        (HEALTHY, DEEPSEEK),
        (CONFIG, {"model_type": "llama"}),
        (CONFIG, {"model_type": "qwen2", "num_experts": 1}),
        (CONFIG, MIXTRAL),  # DeepSpeed registers it itself
        (CONFIG, {"model_type": "gpt_oss", "num_local_experts": 32}),  # one tensor
        (with_leaf(classes=["DeepseekV3MoE"]), DEEPSEEK),
        (with_leaf(names=["model.layers.3.mlp"]), DEEPSEEK),
        ({"zero_optimization": {"stage": 3, "stage3_module_granularity_threshold": 100000}}, DEEPSEEK),
    ],
)
def test_good(config: Any, model: dict[str, Any]) -> None:
    assert lint(Rule, config, model=model) == []


def test_good_transformers_5_has_the_experts_in_one_tensor() -> None:
    evidence = evidence_of(CONFIG, model=DEEPSEEK)
    evidence.cluster.versions["transformers"] = "5.23.0"
    assert run(Rule, evidence)[0] == []
    evidence.model.config["auto_map"] = {"AutoModel": "modeling_deepseek.Model"}
    assert len(run(Rule, evidence)[0]) == 1, "its own code"


def test_skips_without_a_model() -> None:
    assert run(Rule, evidence_of(CONFIG))[1].outcome is Outcome.SKIPPED
    assert run(Rule, evidence_of(HEALTHY))[1].outcome is Outcome.PASSED
