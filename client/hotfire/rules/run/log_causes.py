"""What the log of a job that failed may mean: the likely causes in order, and the experiment that decides.

A log has printed numbers only, and the Trainer prints 0.0 for a NaN loss. So it separates some mechanisms and not
others; here stands which, by version of DeepSpeed. Nothing here is a proof, and every cause says what would be one.

Source: measured on DeepSpeed 0.14.5 to 0.19.8 (`signature`); zai-org/GLM-4 issues 251, 260, 261; DeepSpeed issues
5242, 5347, 5692, 7188, pull requests 5606, 7171, 7371, 7805, 7965; hiyouga/LlamaFactory issues 4202, 8088, 8137.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from hotfire.dsconfig.known_bad import KnownBad, Setting, known_bad
from hotfire.dsconfig.versions import parse
from hotfire.rules.evidence import Evidence, Step, Trial
from hotfire.rules.known_faults import setting, versions_of
from hotfire.rules.run.judged import is_non_finite, never_moves, norm, sentinel_groups
from hotfire.rules.wording import counted

#: From this release on DeepSpeed prints `inf` for a NaN gradient and skips the step; before, √k, nan or 1.0.
_TELLS_SINCE = "0.19.7"
_RACES = (
    "ipg-buffer-overwritten",
    "multi-rank-bucket",
    "double-buffer-swap",
    "overlap-buffer-freed-early",
    "compiled-producers-on-several-streams",
    "stage3-waits-for-the-wrong-stream",
)
_STAGE_3 = 3
#: A job whose config is not known, at its worst.
_SUPPOSED = Setting(stage=2, precision="bf16", overlap_comm=True, clipping=1.0)


@dataclass(frozen=True, kw_only=True, slots=True)
class LikelyCause:
    """One explanation of what the log shows."""

    cause: str
    """Kebab name."""
    why: str
    """What speaks for it."""
    decided_by: str
    """The experiment that would prove or refute it."""
    versions: tuple[str, ...] = ()
    """Known faults of DeepSpeed that fit, where the config is known."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Reading:
    """A log, read."""

    causes: list[LikelyCause] = field(default_factory=list)
    excluded: list[str] = field(default_factory=list)
    """What the log speaks against."""


def read_log(evidence: Evidence) -> Reading:
    """The likely causes of what is wrong in a log, the likeliest first.

    Args:
        evidence: With the log as its candidate; the config and the versions sharpen the answer where they are known.
    """
    trial = evidence.candidate
    if trial is None or not trial.from_log or not trial.steps:
        return Reading()
    bad = [step for step in trial.steps if _is_dead(step)]
    silent = [step for step in trial.steps if not _is_dead(step) and norm(step) == 0]
    if never_moves(trial) or all(step.applied is False for step in trial.steps):
        return _never_applied(trial)
    if bad and (trial.facts.get("is_reinforcement") and all(norm(step) == 0 for step in bad)):
        return _equal_rewards(trial)
    if bad and all(norm(step) == 0 for step in bad):
        return _dead_labels(evidence, trial, bad)
    if bad and all(norm(step) is None for step in bad):
        return _untold(evidence, trial, bad)
    if bad:
        return _not_finite(evidence, trial, bad)
    if silent and len(silent) * 2 > len(trial.steps):
        return _no_gradient(trial, silent)
    return Reading()


def _is_dead(step: Step) -> bool:
    """Printed 0 or NaN, or with a norm that is not finite, or a mark."""
    loss, size = step.logged_loss, norm(step)
    if is_non_finite(loss) or is_non_finite(size):
        return True
    if loss != 0:
        return False
    return size is None or size == 0 or sentinel_groups(size) is not None


def _dead_labels(evidence: Evidence, trial: Trial, bad: list[Step]) -> Reading:
    first = bad[0] is trial.steps[0]
    when = "from the first line on" if first else f"from step {bad[0].step} on"
    causes = [
        LikelyCause(
            cause="no-supervised-tokens",
            why=f"loss 0.0 with gradient norm exactly 0.0 {when}, while the learning rate moves, is what rows without "
            "any label print (every label is -100): at ZeRO 1, 2, 3 and without DeepSpeed alike",
            decided_by="hotfire check with the job's data, chat template and max_length: it counts the labels of every "
            "row (no-supervised-tokens, answer-truncated, template-mismatch)",
        ),
        LikelyCause(
            cause="loss-without-model",
            why="a loss that does not depend on the trainable weights prints the same; it is rarer",
            decided_by="hotfire check: no-gradient-for-trainable looks at every group of parameters",
        ),
    ]
    version = _version(evidence, trial)
    if version is None or parse(version) == parse("0.14.3"):
        causes.append(
            LikelyCause(
                cause="deepspeed-0.14.3-norm",
                why="DeepSpeed 0.14.3 was reported to print a gradient norm of 0 (issue 5692), without a known cause"
                + ("" if version else "; the log does not say its version"),
                decided_by="the same job with another DeepSpeed: hotfire check --set cluster.versions.deepspeed=…",
            )
        )
    return Reading(
        causes=causes,
        excluded=[
            "a ZeRO-1/2 gradient race or another NaN gradient: its norm is nan, 1.0, 1.414, 1.732 or inf, never 0.0",
            "the ZeRO stage: switching it gives rows no labels",
        ],
    )


def _not_finite(evidence: Evidence, trial: Trial, bad: list[Step]) -> Reading:
    first = bad[0]
    at_once = first is trial.steps[0]
    version = _version(evidence, trial)
    size = norm(first)
    k = sentinel_groups(size)
    shown = (
        f"gradient norm √{k}, DeepSpeed's mark for NaN in {counted(k, 'parameter group')} up to 0.19.6"
        if k is not None
        else f"gradient norm {size}"
        if size is not None and is_non_finite(size)
        else f"loss {first.logged_loss}"
    )
    forward = LikelyCause(
        cause="non-finite-forward",
        why=f"{shown} from the first line on: NaN before any update, so from the model, its precision or its attention"
        if at_once
        else f"{shown} from step {first.step} on: something became NaN, in the forward pass or in the weights",
        decided_by="hotfire check: it sees the raw loss and the first module and row that are not finite, and runs the "
        "same steps without DeepSpeed",
    )
    overflow = LikelyCause(
        cause="precision",
        why="weights or activations beyond the range of fp16, or fp16 weights that are trained without a scaler",
        decided_by="hotfire check with --set training.bf16=true and fp16 off, side by side with the job as it is",
    )
    rate = LikelyCause(
        cause="learning-rate",
        why="the loss was finite before, and the weights may have been driven out of range",
        decided_by="hotfire check: it takes steps at the schedule's peak and tries a lower rate",
    )
    race = _race(evidence, version, at_once=at_once)
    clip = _clip_by_infinity(evidence, version)
    low_precision = trial.dtype != "bf16"
    if at_once:
        order = [forward, overflow if low_precision else None, race, clip]
    elif race is not None and race.versions:
        order = [race, clip, forward, rate, overflow if low_precision else None]
    else:
        order = [forward, rate, overflow if low_precision else None, race, clip]
    excluded = ["rows without labels alone: their gradient norm is exactly 0.0"]
    if version is not None and parse(version) >= parse(_TELLS_SINCE) and k is not None:
        excluded.append(
            f"DeepSpeed {version} prints inf for NaN gradients: √{k} is then a real norm, or a clipped one"
        )
    return Reading(causes=[cause for cause in order if cause is not None], excluded=excluded)


def _race(evidence: Evidence, version: str | None, *, at_once: bool) -> LikelyCause | None:
    """A gradient race of ZeRO, where the config and the version allow one."""
    known = _setting(evidence)
    if known is not None and not known.races and known.stage != _STAGE_3:
        return None
    supposed = known or _SUPPOSED
    faults = [fault for fault in _faults(evidence, supposed) if fault.id in _RACES]
    if version is not None and not faults:
        return None
    where = f"ZeRO-{known.stage} with overlap_comm" if known is not None else "ZeRO 1 or 2 with overlap_comm"
    if version is None:
        why = f"{where} has raced in several releases up to 0.18; the log does not say its version"
    else:
        why = f"DeepSpeed {version} has a known race: {where} {faults[0].what}"
    if known is None:
        why += " (no config was given: --spec)"
    if at_once:
        why += "; it mostly strikes after some steps"
    return LikelyCause(
        cause="zero-gradient-race",
        why=why,
        decided_by="hotfire check --stages 1,2,3, and with --set deepspeed.zero_optimization.overlap_comm=false, on "
        "GPUs and as many of them as the job has: a race does not show on a CPU",
        versions=tuple(fault.id for fault in faults) if version is not None else (),
    )


def _clip_by_infinity(evidence: Evidence, version: str | None) -> LikelyCause | None:
    if version is None:
        return None
    known = _setting(evidence) or _SUPPOSED
    fault = next((f for f in _faults(evidence, known) if f.id == "inf-norm-becomes-nan-weights"), None)
    if fault is None:
        return None
    return LikelyCause(
        cause="clipping-by-infinity",
        why=f"DeepSpeed {version} {fault.what}",
        decided_by=f"the same job with DeepSpeed {fault.fixed_in}: hotfire check --set "
        f"cluster.versions.deepspeed={fault.fixed_in}",
        versions=(fault.id,),
    )


def _never_applied(trial: Trial) -> Reading:
    told = int(trial.facts.get("num_overflows") or 0)
    sizes = [norm(step) for step in trial.steps]
    overflow = LikelyCause(
        cause="fp16-overflow",
        why=f"DeepSpeed tells of {counted(told, 'skipped step')}"
        if told
        else "the learning rate never left 0, as when every step is skipped: the schedule is then not advanced",
        decided_by="hotfire check: it has the loss scale of every step, and tries bf16",
    )
    schedule = LikelyCause(
        cause="learning-rate-zero",
        why="a schedule that is 0 all the way prints the same",
        decided_by="hotfire lint --show-effective: it draws the whole learning-rate curve",
    )
    hidden = LikelyCause(
        cause="non-finite-gradient",
        why="the norm is not finite: from 0.19.7 on DeepSpeed skips such steps in every precision",
        decided_by="hotfire check: it names the first parameter and module that are not finite",
    )
    if any(is_non_finite(size) for size in sizes) and trial.dtype != "fp16":
        return Reading(causes=[hidden, overflow])
    return Reading(causes=[overflow] if told else [overflow, schedule])


def _equal_rewards(trial: Trial) -> Reading:
    equal = trial.facts.get("rewards_are_equal")
    return Reading(
        causes=[
            LikelyCause(
                cause="equal-rewards",
                why="in reinforcement learning a loss of 0 without a gradient comes from rewards that are all equal "
                "within a group"
                + (": reward_std is 0 throughout" if equal else ", so that every advantage is 0"),
                decided_by="print the rewards of a group; hotfire check runs supervised steps only",
            )
        ]
    )


def _untold(evidence: Evidence, trial: Trial, bad: list[Step]) -> Reading:
    labels = LikelyCause(
        cause="no-supervised-tokens",
        why="rows without labels print loss 0.0; so do NaN losses, and this log has no gradient norm to tell which",
        decided_by="hotfire check with the job's data: it counts the labels of every row",
    )
    hidden = _not_finite(evidence, trial, bad).causes
    return Reading(causes=[labels, *hidden] if bad[0] is trial.steps[0] else [*hidden, labels])


def _no_gradient(trial: Trial, silent: list[Step]) -> Reading:
    losses = [step.logged_loss for step in trial.steps if step.logged_loss is not None]
    falls = len(losses) >= 4 and losses[-1] < 0.8 * losses[0]
    printed = LikelyCause(
        cause="norm-printed-wrong",
        why="the loss falls although the printed norm is 0: then weights move, and the norm is what is wrong"
        if falls
        else "the norm that is printed may not be the gradient's (DeepSpeed 0.14.3, issue 5692)",
        decided_by="hotfire check: it computes the norm from the gradients, beside DeepSpeed's own",
    )
    cut = LikelyCause(
        cause="no-gradient",
        why="a loss with gradient norm 0.0 and a moving learning rate: nothing trainable is reached, as with LoRA "
        "under reentrant checkpointing without input gradients, or with everything frozen",
        decided_by="hotfire check: no-gradient-for-trainable looks at every group of parameters",
    )
    return Reading(
        causes=[printed, cut] if falls else [cut, printed],
        excluded=[f"rows without labels: their loss is 0 or NaN, and here it is {silent[0].logged_loss}"],
    )


def _version(evidence: Evidence, trial: Trial) -> str | None:
    target = evidence.cluster.versions.get("deepspeed") if evidence.cluster is not None else None
    return target or trial.versions.get("deepspeed")


def _setting(evidence: Evidence) -> Setting | None:
    return setting(evidence) if evidence.config is not None and evidence.config.given is not None else None


def _faults(evidence: Evidence, known: Setting) -> list[KnownBad]:
    return known_bad(known, versions_of(evidence))
