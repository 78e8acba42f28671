"""A seeded part of `python -m benchmarks.key_mutation`, and that it can tell found from not found."""

import json
import random
from pathlib import Path

import pytest
from benchmarks import key_mutation
from benchmarks.lint_agreement import CONFIGS
from benchmarks.mutations import Kind, Mutation, at, mutate

from hotfire.dsconfig.versions import KNOWN
from hotfire.rules.evidence import Finding, Location, Severity

EXAMPLES = sorted((Path(__file__).parents[3] / "examples").glob("*/ds_*.json"))
OWN = {
    "stage 3 with offload": {
        "train_batch_size": 64,
        "train_micro_batch_size_per_gpu": 4,
        "gradient_accumulation_steps": 2,
        "gradient_clipping": 1.0,
        "steps_per_print": 10,
        "bf16": {"enabled": True},
        "optimizer": {"type": "AdamW", "params": {"lr": 2e-5, "betas": [0.9, 0.95], "weight_decay": 0.1}},
        "scheduler": {
            "type": "WarmupDecayLR",
            "params": {"total_num_steps": 1000, "warmup_max_lr": 2e-5, "warmup_num_steps": 100},
        },
        "zero_optimization": {
            "stage": 3,
            "overlap_comm": True,
            "reduce_bucket_size": 5e8,
            "stage3_max_live_parameters": 5e8,
            "stage3_prefetch_bucket_size": 5e7,
            "offload_param": {"device": "cpu", "pin_memory": True},
            "offload_optimizer": {"device": "cpu", "pin_memory": True},
        },
        "flops_profiler": {"enabled": True, "profile_step": 2},
        "activation_checkpointing": {"partition_activations": True, "number_checkpoints": 4},
    },
    "stage 2 in fp16": {
        "train_batch_size": 32,
        "train_micro_batch_size_per_gpu": 4,
        "fp16": {"enabled": True, "loss_scale": 0, "loss_scale_window": 500, "min_loss_scale": 1},
        "optimizer": {"type": "Adam", "params": {"lr": "auto", "betas": "auto", "eps": 1e-8}},
        "zero_optimization": {"stage": 2, "allgather_bucket_size": 2e8, "contiguous_gradients": True},
        "wall_clock_breakdown": False,
        "comms_logger": {"enabled": False, "prof_all": True},
    },
    "stage 3, all auto": {
        "train_micro_batch_size_per_gpu": "auto",
        "train_batch_size": "auto",
        "bf16": {"enabled": "auto"},
        "zero_optimization": {
            "stage": 3,
            "stage3_prefetch_bucket_size": "auto",
            "stage3_gather_16bit_weights_on_model_save": True,
        },
    },
}


@pytest.fixture(scope="module", autouse=True)
def _real_deepspeed():
    deepspeed = pytest.importorskip("deepspeed")
    pytest.importorskip("transformers")
    if deepspeed.__version__.split("+")[0] != KNOWN:
        pytest.skip(f"the newest known DeepSpeed is {KNOWN}")


def check(configs, per_config):
    result = key_mutation.run(configs, seed=5, per_config=per_config, engine=None)
    assert result.refused == []
    assert len(result.outcomes) >= 0.9 * per_config * len(configs)
    missed = [
        (o.name, str(o.mutation.kind), o.mutation.what, o.effect, [f.message for f in o.findings])
        for o in result.outcomes
        if not o.found
    ]
    assert len(missed) <= (1 - key_mutation.AIM) * len(result.outcomes), missed
    return result


def test_mistakes_in_our_own_configs_are_found():
    configs = [*OWN.items(), *((p.parent.name, json.loads(p.read_text())) for p in EXAMPLES)]
    result = check(configs, per_config=15)
    assert {o.mutation.kind for o in result.outcomes} == set(Kind)
    assert {o.effect for o in result.outcomes} == {"refuses", "does", "reads"}


@pytest.mark.skipif(
    not CONFIGS.is_dir(), reason=f"the folder of public configs is not there ({CONFIGS.name})"
)
def test_mistakes_in_public_configs_are_found():
    accepted = [
        (name, config)
        for name, config in key_mutation.read_configs(CONFIGS)[::9]
        if not any(f.severity is Severity.ERROR for f in key_mutation.lint(config, 1))
    ]
    assert len(accepted) >= 8
    check(accepted, per_config=10)


def test_a_lint_that_says_nothing_finds_nothing(monkeypatch):
    monkeypatch.setattr(key_mutation, "lint", lambda *_: [])
    result = key_mutation.run(list(OWN.items()), seed=5, per_config=5, engine=None)
    assert len(result.outcomes) == 5 * len(OWN)
    assert not any(o.found for o in result.outcomes)


def test_a_finding_on_another_key_does_not_count(monkeypatch):
    elsewhere = Finding(
        message="x", rule="x", severity=Severity.ERROR, location=Location(config_path="/deepspeed/aio")
    )
    original = json.dumps(OWN["stage 2 in fp16"])
    monkeypatch.setattr(
        key_mutation, "lint", lambda config, _: [] if json.dumps(config) == original else [elsewhere]
    )
    result = key_mutation.run([("one", OWN["stage 2 in fp16"])], seed=5, per_config=5, engine=None)
    assert not any(o.found for o in result.outcomes)


@pytest.mark.parametrize(
    ("raises", "severity", "found"),
    [
        (True, Severity.ERROR, True),
        (True, Severity.WARNING, False),
        (False, Severity.ERROR, False),
        (False, Severity.WARNING, True),
        (None, Severity.WARNING, True),
    ],
)
def test_a_number_as_string_needs_the_right_severity(raises, severity, found):
    mutation = Mutation(kind=Kind.TEXT, pointer="/a", new_pointer="/a", config={"a": "1"})
    finding = Finding(message="x", severity=severity)
    outcome = key_mutation.Outcome(
        name="x", mutation=mutation, effect="reads", raises=raises, findings=(finding,)
    )
    assert outcome.found is found


def test_a_mistake_is_one_key_and_is_the_same_for_the_same_seed():
    config = OWN["stage 3 with offload"]
    before = json.dumps(config)
    made = [mutate(config, random.Random(n)) for n in range(300)]
    assert json.dumps(config) == before
    assert made == [mutate(config, random.Random(n)) for n in range(300)]
    for mutation in filter(None, made):
        assert mutation.config != config
        value = at(mutation.config, mutation.new_pointer)
        match mutation.kind:
            case Kind.TYPO | Kind.WRONG_SECTION:
                assert value == at(config, mutation.pointer)
                assert mutation.new_pointer != mutation.pointer
            case Kind.TEXT:
                texts = value if isinstance(value, list) else [value]
                assert any(isinstance(text, str) and float(text) >= 0 for text in texts)
            case Kind.STAGE:
                assert value in (0, 1, 2)
            case Kind.OFF_BY_ONE:
                assert abs(value - at(config, mutation.pointer)) == 1
    assert {m.kind for m in made if m} == set(Kind)
