"""The guard against false alarms: healthy jobs of many kinds, all rules, nothing above INFO."""

import dataclasses
import re
from typing import Any

import pytest
from tests.unit.rules.factory import ds_config, evidence, other_stage, reference, step, steps, training, trial

from hotfire.rules.engine import all_rules, judge
from hotfire.rules.evidence import (
    DeepSpeedConfig,
    Evidence,
    Guilty,
    MicroBatch,
    Outcome,
    ParameterGroup,
    Phase,
    RankStep,
    Severity,
    Trial,
    TrialOutcome,
    Verdict,
)
from hotfire.rules.run.outcome import outcome_of
from hotfire.rules.zero.verdict import zero_verdict


def _fp16_search() -> Evidence:
    """Two skipped steps while the loss scale is found, in both runs."""
    nan, inf = float("nan"), float("inf")

    def run(own: Trial) -> Trial:
        skipped = [
            step(
                number,
                applied=False,
                grad_norm=inf,
                grad_norm_measured=nan,
                logged_grad_norm=inf,
                loss_scale=2.0 ** (17 - number),
                update_ratio=0.0,
                learning_rate=0.0,
                planned_learning_rate=0.0,
            )
            for number in (1, 2)
        ]
        rest = [step(number, step=number + 2, loss_scale=2.0**14, skipped_steps=2) for number in range(1, 9)]
        return dataclasses.replace(own, steps=skipped + rest)

    given = evidence(dtype="fp16")
    given.trials = [run(trial(dtype="fp16")), run(reference(dtype="fp16"))]
    return given


def _long_search() -> Evidence:
    given = _fp16_search()
    for own in given.trials or []:
        first = own.steps[0]
        own.steps = [dataclasses.replace(first, loss_scale=2.0 ** (32 - n)) for n in range(6)] + own.steps[2:]
    return given


def _lora_waiting() -> Evidence:
    """One applied step: lora_A has no gradient yet, because lora_B is still 0."""
    peft = {"r": 8, "target_modules": ["q_proj", "v_proj"]}

    def run(own: Trial) -> Trial:
        waiting = ParameterGroup(
            name="lora_A",
            num_parameters=4,
            num_silent_parameters=4,
            silent_parameters=[f"model.layers.{n}.self_attn.q_proj.lora_A.default.weight" for n in range(4)],
            num_never_in_graph=0,
        )
        moving = ParameterGroup(name="lora_B", num_parameters=4, num_silent_parameters=0, grad_norm=0.1)
        return dataclasses.replace(own, steps=own.steps[:1], groups=[waiting, moving])

    given = evidence(training=training(peft=peft))
    given.trials = [run(own) for own in given.trials or []]
    return given


def _warm_up_at_zero() -> Evidence:
    """A long warm-up: the scheduled steps run at (nearly) nothing, only the peak moves."""

    def run(own: Trial) -> Trial:
        changed = [
            dataclasses.replace(
                s,
                learning_rate=0.0,
                planned_learning_rate=0.0,
                update_ratio=0.0,
                loss=6.25 + 0.02 * (s.step % 2),
            )
            if s.phase is Phase.SCHEDULED
            else s
            for s in own.steps
        ]
        return dataclasses.replace(own, steps=changed)

    given = evidence()
    given.trials = [run(own) for own in given.trials or []]
    return given


def _stage_zero_fp32() -> Evidence:
    """ZeRO-0 in fp32 has no engine norm; ours is used."""
    given = evidence(stage=0, dtype="fp32")
    given.trials = [
        trial(stage=0, dtype="fp32", steps=steps(grad_norm=None, logged_grad_norm=None)),
        reference(dtype="fp32"),
    ]
    return given


def _masked_micro_batch_under_trainer() -> Evidence:
    """One micro-batch without labels: the Trainer divides by the labels of the whole step, which is clean."""
    given = evidence()
    for own in given.trials or []:
        own.steps[2].ranks = [
            RankStep(
                rank=0,
                micro_batches=[
                    MicroBatch(loss=0.0, num_supervised_tokens=40, rows=[1, 2]),
                    MicroBatch(loss=6.0, num_supervised_tokens=40),
                ],
            )
        ]
    return given


def _experts_without_tokens() -> Evidence:
    given = evidence()
    for own in given.trials or []:
        own.groups = [
            *own.groups,
            ParameterGroup(
                name="experts",
                num_parameters=16,
                num_silent_parameters=2,
                silent_parameters=[
                    "model.layers.0.mlp.experts.7.down_proj.weight",
                    "model.layers.0.mlp.experts.7.up_proj.weight",
                ],
            ),
        ]
    return given


def _skipped_later() -> Evidence:
    """fp16: the scale grows, one step overflows in the middle, training goes on."""
    given = _fp16_search()
    for own in given.trials or []:
        own.steps[6] = dataclasses.replace(
            own.steps[6],
            applied=False,
            grad_norm=float("inf"),
            grad_norm_measured=float("nan"),
            update_ratio=0.0,
        )
    return given


def _noisy_batches() -> Evidence:
    """A pretrained model on mixed rows: the loss jumps from batch to batch."""
    losses = [1.2, 2.4, 1.6, 1.3, 2.5, 1.4, 2.3, 2.4]
    given = evidence()
    for own in given.trials or []:
        own.steps = [
            dataclasses.replace(s, loss=loss, logged_loss=loss)
            for s, loss in zip(own.steps, losses, strict=True)
        ]
    return given


def _grpo_like() -> Evidence:
    """A loss of (almost) 0 with a gradient is what on-policy reinforcement learning has."""
    given = evidence()
    for own in given.trials or []:
        own.steps = [dataclasses.replace(s, loss=0.0, logged_loss=0.0) for s in own.steps]
    return given


def _all_stages() -> Evidence:
    given = evidence()
    given.trials = [*(given.trials or []), other_stage(1), other_stage(3)]
    return given


HEALTHY: dict[str, Any] = {
    "bf16 stage 2": evidence,
    "fp32 stage 1": lambda: evidence(stage=1, dtype="fp32"),
    "stage 3": lambda: evidence(
        stage=3,
        given=ds_config(zero_optimization={"stage": 3, "stage3_gather_16bit_weights_on_model_save": True}),
    ),
    "stage 0 fp32": _stage_zero_fp32,
    "fp16 with a short search": _fp16_search,
    "fp16 with a long search": _long_search,
    "fp16 with a later overflow": _skipped_later,
    "LoRA, one step": _lora_waiting,
    "warm-up at 0": _warm_up_at_zero,
    "experts without tokens": _experts_without_tokens,
    "masked micro-batch": _masked_micro_batch_under_trainer,
    "noisy batches": _noisy_batches,
    "loss 0 with a gradient": _grpo_like,
    "all stages": _all_stages,
}


@pytest.mark.parametrize("make", HEALTHY.values(), ids=HEALTHY.keys())
def test_no_false_alarm(make: Any) -> None:
    given = make()
    judgement = judge(given)

    loud = [f"{f.rule}: {f.message}" for f in judgement.findings if f.severity is not Severity.INFO]
    assert loud == []
    assert [c for c in judgement.checks if c.outcome is Outcome.ERROR] == []
    assert judgement.verdict is Verdict.PASS
    assert judgement.headline.startswith("It trains: ")
    for own in given.trials:
        assert outcome_of(own, given)[0] is TrialOutcome.TRAINS
    assert zero_verdict(given).guilty is Guilty.NONE


def test_every_rule_survives_absent_evidence() -> None:
    judgement = judge(Evidence())
    assert {c.outcome for c in judgement.checks} == {Outcome.SKIPPED}
    assert all(c.reason for c in judgement.checks)
    assert len(judgement.checks) == len(all_rules())


def test_every_rule_survives_empty_evidence() -> None:
    """Parts that are there and say nothing: a rule skips or passes, and does not break."""
    bare = evidence()
    empty = Evidence(
        config=DeepSpeedConfig(given={}, effective={}),
        training={},
        cluster=type(bare.cluster)(),
        plan=bare.plan,
        model=type(bare.model)(),
        data=type(bare.data)(),
        trials=[],
        environment=type(bare.environment)(),
    )
    broken = [c for c in judge(empty).checks if c.outcome is Outcome.ERROR]
    assert broken == []


def test_ids_and_names_are_unique() -> None:
    rules = all_rules()
    assert len({rule.id for rule in rules}) == len(rules)
    assert len({rule.name for rule in rules}) == len(rules)
    assert [rule.id for rule in rules] == sorted(rule.id for rule in rules)


def test_one_rule_one_file_one_page() -> None:
    for rule in all_rules():
        assert type(rule).__module__.rsplit(".", 1)[1] == rule.name.replace("-", "_")
        assert rule.summary.endswith(".")
        assert re.search(r"Source:\n\s+\S", rule.documentation)
