"""The ZeRO verdict, row by row of the design's table."""

import dataclasses
from typing import Any

import pytest
from tests.unit.rules.factory import (
    NORMS,
    crashed,
    dead_evidence,
    dead_steps,
    evidence,
    other_stage,
    reference,
    step,
    steps,
    trial,
)

from hotfire.rules.evidence import Evidence, Guilty, PatchOperation, Role, Trial, TrialOutcome
from hotfire.rules.zero.compare import compare
from hotfire.rules.zero.verdict import STAGE_PATH, zero_verdict

NAN, INF = float("nan"), float("inf")


def skipped(role: Role = Role.CANDIDATE, **changes: Any) -> Trial:
    """fp16 with a static scale that overflows: loss finite, every step skipped."""
    dead = steps(applied=False, grad_norm=INF, grad_norm_measured=NAN, loss_scale=2.0**24, update_ratio=0.0)
    return trial(role, **({"dtype": "fp16", "steps": dead} | changes))


def patched(role: Role, path: str, value: Any, **changes: Any) -> Trial:
    patch = [PatchOperation(op="replace", path=path, value=value)]
    return trial(role, **({"name": f"{role.lower()}-1", "patch": patch, "dtype": "fp16"} | changes))


def fp16(*trials: Trial) -> Evidence:
    return evidence(dtype="fp16", trials=list(trials))


def test_none_trains_and_agrees() -> None:
    verdict = zero_verdict(evidence(trials=[trial(), reference(), other_stage(1), other_stage(3)]))
    assert verdict.guilty is Guilty.NONE
    assert verdict.submitted_stage == 2
    assert [stage.stage for stage in verdict.stages] == [1, 2, 3]
    assert all(
        stage.outcome is TrialOutcome.TRAINS and stage.agrees_with_reference for stage in verdict.stages
    )
    assert verdict.stages[1].loss_gap == 0.0
    assert verdict.stages[1].step_seconds == 0.1


def test_a_stage_that_crashed_before_it_had_an_engine_is_named_all_the_same() -> None:
    def dead(trial: Trial) -> Trial:
        return dataclasses.replace(
            crashed(trial.role, message="no"), name=trial.name, patch=trial.patch, stage=None
        )

    asked = patched(Role.STAGE, STAGE_PATH, 3)
    verdict = zero_verdict(evidence(trials=[dead(trial()), dead(reference()), dead(asked)]))
    assert verdict.guilty is Guilty.NOT_ZERO
    assert "other stages that were tried (3)" in verdict.explanation
    assert [stage.stage for stage in verdict.stages] == [3]


def test_not_zero_the_seed_case() -> None:
    verdict = zero_verdict(dead_evidence())
    assert verdict.guilty is Guilty.NOT_ZERO
    assert verdict.recommended_patch == []
    assert "ZeRO is not the cause" in verdict.explanation
    assert "other stages that were tried (3)" in verdict.explanation


def test_not_zero_crashes_alike() -> None:
    boom = {"message": "index out of range in self", "kind": "IndexError"}
    given = evidence(trials=[crashed(**boom), crashed(Role.REFERENCE, **boom)])
    assert zero_verdict(given).guilty is Guilty.NOT_ZERO


def test_stage_guilty() -> None:
    """'weight' must be 2-D: stage 3 alone."""
    own = crashed(message="'weight' must be 2-D", stage=3)
    verdict = zero_verdict(evidence(stage=3, trials=[own, reference(), other_stage(1), other_stage(2)]))
    assert verdict.guilty is Guilty.STAGE
    assert verdict.guilty_keys == [STAGE_PATH]
    # No stage above 3: the highest of those that train.
    assert verdict.recommended_patch[0].value == 2
    assert verdict.trial == "stage-2"


def test_stage_guilty_prefers_the_next_stage_up() -> None:
    own = trial(
        stage=0,
        dtype="fp16",
        steps=steps(loss_scale=4096.0, grad_norm_measured=NORMS[0] / 4096, grad_norm=NORMS[0]),
    )
    stages = [other_stage(n, dtype="fp16") for n in (1, 2, 3)]
    verdict = zero_verdict(fp16(own, reference(dtype="fp16"), *stages))
    assert verdict.guilty is Guilty.STAGE
    assert verdict.recommended_patch[0].value == 1


def test_keys_guilty_at_every_stage() -> None:
    stages = [skipped(Role.STAGE, stage=n, name=f"stage-{n}") for n in (1, 3)]
    cure = patched(Role.BISECT, "/deepspeed/fp16/loss_scale", 0)
    verdict = zero_verdict(fp16(skipped(), reference(dtype="fp16"), *stages, cure))
    assert verdict.guilty is Guilty.KEYS
    assert verdict.guilty_keys == ["/deepspeed/fp16/loss_scale"]
    assert verdict.recommended_patch[0].value == 0


def test_keys_takes_the_smallest_patch_and_counts_mirrored_arguments() -> None:
    big = patched(Role.BISECT, "/deepspeed/fp16/loss_scale", 0, name="big")
    big.patch += [PatchOperation(op="remove", path="/deepspeed/zero_optimization/overlap_comm")] * 2
    both = patched(Role.FIX, "/deepspeed/fp16/enabled", False, name="both", dtype="bf16")
    both.patch.append(PatchOperation(op="replace", path="/training/fp16", value=False))
    verdict = zero_verdict(fp16(skipped(), reference(dtype="fp16"), big, both))
    assert verdict.trial == "both"
    assert verdict.guilty_keys == ["/deepspeed/fp16/enabled"]


def test_a_cure_outside_the_config_proves_no_key() -> None:
    cure = patched(Role.FIX, "/training/max_length", 512)
    assert zero_verdict(fp16(skipped(), reference(dtype="fp16"), cure)).guilty is Guilty.UNKNOWN


def test_version_guilty() -> None:
    cure = patched(Role.FIX, "/cluster/versions/deepspeed", "0.19.8")
    assert zero_verdict(fp16(skipped(), reference(dtype="fp16"), cure)).guilty is Guilty.VERSION


def test_silent_divergence_is_not_zero_innocence() -> None:
    """DeepSpeed 0.17.6 at stage 2: everything trains, the norm is 0.649 instead of 0.906."""
    wrong = [
        dataclasses.replace(s, grad_norm=0.7 * n, grad_norm_measured=0.7 * n)
        for s, n in zip(steps(), NORMS, strict=True)
    ]
    verdict = zero_verdict(evidence(trials=[trial(steps=wrong), reference(), other_stage(1), other_stage(3)]))
    assert verdict.guilty is Guilty.STAGE
    assert verdict.recommended_patch[0].value == 3
    assert verdict.stages[1].outcome is TrialOutcome.TRAINS
    assert verdict.stages[1].agrees_with_reference is False
    assert verdict.stages[1].grad_norm_gap == pytest.approx(0.3)


@pytest.mark.parametrize(
    ("trials", "words"),
    [
        ([], "was not run"),
        ([trial()], "was not made"),
        ([trial(outcome=TrialOutcome.NOT_EXERCISED, reason="too large"), reference()], "too large"),
        ([trial(), crashed(Role.REFERENCE, message="CUDA out of memory")], "nothing to compare with"),
        ([trial(steps=dead_steps()), crashed(Role.REFERENCE, message="boom")], "not in the same way"),
        ([crashed(message="boom"), reference()], "No other stage or key was tried"),
        (
            [crashed(message="boom"), reference(), crashed(Role.STAGE, message="boom", stage=3)],
            "None of the other",
        ),
    ],
)
def test_unknown_says_why(trials: list[Trial], words: str) -> None:
    verdict = zero_verdict(evidence(trials=trials))
    assert verdict.guilty is Guilty.UNKNOWN
    assert words in verdict.explanation


def test_the_reference_without_engine_norm_is_compared_by_ours() -> None:
    agreement = compare(trial(), reference())
    assert agreement.agrees is True
    assert agreement.grad_norm_gap == 0.0


def test_rounding_of_bf16_is_agreement() -> None:
    ours = [
        dataclasses.replace(s, loss=s.loss * 1.0002, grad_norm_measured=s.grad_norm_measured * 1.0008)
        for s in steps()
    ]
    assert compare(trial(steps=ours), reference()).agrees is True


def test_drifting_apart_and_frozen_weights_are_not() -> None:
    drift = [dataclasses.replace(s, loss=s.loss * (1 + 0.02 * (s.step - 1))) for s in steps()]
    agreement = compare(trial(steps=drift), reference())
    assert agreement.agrees is False
    assert "drift apart" in agreement.reason
    frozen = steps(update_ratio=1e-9)
    assert "update differs" in compare(trial(steps=frozen), reference()).reason


def test_steps_are_compared_only_from_equal_weights() -> None:
    """fp16: the candidate skipped one step more, so from then on its steps take other rows."""
    ours = [
        step(1, applied=False, grad_norm=INF, grad_norm_measured=NAN),
        *(step(n, loss=9.0) for n in range(2, 9)),
    ]
    agreement = compare(trial(steps=ours), reference())
    assert agreement.agrees is True
    assert agreement.grad_norm_gap is None
    assert "could not be compared" in agreement.reason


def test_a_search_for_the_loss_scale_does_not_hide_the_norms() -> None:
    """Two steps skipped: the third takes the rows of the first, with the same weights."""
    skip = {"applied": False, "grad_norm": INF, "grad_norm_measured": NAN}
    ours = [step(1, **skip), step(2, **skip), *(step(n, step=n + 2) for n in range(1, 9))]
    agreement = compare(trial(steps=ours), reference())
    assert agreement.agrees is True
    assert agreement.grad_norm_gap == 0.0
    halved = [dataclasses.replace(s, grad_norm_measured=s.grad_norm_measured / 2) for s in ours]
    assert compare(trial(steps=halved), reference()).agrees is False


def test_nothing_to_compare() -> None:
    assert (
        compare(trial(steps=dead_steps(grad_norm_measured=None, grad_norm=None)), reference()).agrees is None
    )
    assert compare(trial(steps=[]), reference()).agrees is None
