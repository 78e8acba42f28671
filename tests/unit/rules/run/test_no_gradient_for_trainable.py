"""R106: every group, never the total."""

from tests.unit.rules.factory import check, dead_evidence, evidence, groups, reference, training, trial

from hotfire.rules.evidence import Outcome, ParameterGroup, Severity
from hotfire.rules.run import NoGradientForTrainable

RULE = NoGradientForTrainable()
LORA = {"r": 8, "target_modules": ["q_proj"]}


def _silent(
    name: str, names: list[str], *, of: int | None = None, detached: int | None = None
) -> ParameterGroup:
    return ParameterGroup(
        name=name,
        num_parameters=of or len(names),
        num_silent_parameters=len(names),
        silent_parameters=names,
        num_never_in_graph=len(names) if detached is None else detached,
    )


def _lora(factor: str) -> list[str]:
    return [
        f"base_model.model.model.layers.{n}.self_attn.q_proj.lora_{factor}.default.weight" for n in range(4)
    ]


def test_bad_reentrant_checkpointing_trains_the_head_only() -> None:
    """Loss and total norm are healthy: only the groups show it."""
    head = ParameterGroup(name="head", num_parameters=1, num_silent_parameters=0, grad_norm=0.7)
    own = trial(groups=[_silent("lora_A", _lora("A")), _silent("lora_B", _lora("B")), head])
    given = evidence(training=training(peft=LORA, gradient_checkpointing=True), trials=[own, reference()])
    (finding,), _ = check(RULE, given)
    assert finding.severity is Severity.ERROR
    assert (
        "8 trainable parameters never get a gradient (4 of 4 in lora_A, 4 of 4 in lora_B)" in finding.message
    )
    assert "reentrant activation checkpointing" in finding.message
    assert [(o.op, o.path, o.value) for o in finding.fix.patch] == [
        ("add", "/training/enable_input_require_grads", True)
    ]
    assert finding.alternatives[0].patch[0].path == "/training/gradient_checkpointing_kwargs"
    assert finding.alternatives[0].patch[0].value == {"use_reentrant": False}


def test_bad_bypassed_head() -> None:
    names = [
        "base_model.model.lm_head.lora_A.default.weight",
        "base_model.model.lm_head.lora_B.default.weight",
    ]
    own = trial(groups=[*groups(), _silent("lora", names, of=10)])
    (finding,), _ = check(RULE, evidence(trials=[own, reference()]))
    assert "bypasses" in finding.message


def test_bad_unused_module() -> None:
    own = trial(groups=[*groups(), _silent("rest", ["extra.weight", "extra.bias"], of=14)])
    (finding,), _ = check(RULE, evidence(trials=[own, reference()]))
    assert finding.severity is Severity.ERROR
    assert finding.location.parameter == "extra.weight"


def test_lora_a_after_lora_b_has_moved_is_a_fault() -> None:
    own = trial(
        groups=[_silent("lora_A", _lora("A"), detached=0), ParameterGroup(name="lora_B", num_parameters=4)]
    )
    given = evidence(training=training(peft=LORA), trials=[own, reference()])
    assert check(RULE, given)[0][0].severity is Severity.ERROR


def test_good_lora_a_waits_for_lora_b() -> None:
    waiting = [_silent("lora_A", _lora("A"), detached=0), ParameterGroup(name="lora_B", num_parameters=4)]
    own = trial(groups=waiting)
    own.steps = own.steps[:2]  # step 1 runs at a warm-up rate of 0
    own.steps[0].learning_rate = 0.0
    given = evidence(training=training(peft=LORA), trials=[own, reference()])
    assert check(RULE, given)[0] == []


def test_good_silent_at_the_last_step_only() -> None:
    own = trial(groups=groups())
    own.groups[2].num_silent_parameters = 3
    assert check(RULE, evidence(trials=[own, reference()]))[0] == []


def test_experts_and_other_modalities_are_lowered() -> None:
    experts = _silent("experts", ["model.layers.0.mlp.experts.3.up_proj.weight"], of=8, detached=0)
    vision = _silent("vision", ["visual.blocks.0.attn.qkv.weight"], of=4)
    own = trial(groups=[*groups(), experts, vision])
    findings, _ = check(RULE, evidence(trials=[own, reference()]))
    assert [f.severity for f in findings] == [Severity.WARNING, Severity.INFO]
    assert "experts without tokens" in findings[1].message


def test_skips_where_everything_is_zero_or_nothing_was_measured() -> None:
    given = dead_evidence()
    given.trials[0].groups = [_silent("rest", ["a.weight"], detached=0)]
    assert check(RULE, given)[1].outcome is Outcome.SKIPPED
    assert check(RULE, evidence(trials=[trial(groups=[]), reference()]))[1].outcome is Outcome.SKIPPED
