"""Which trials cure the job: by other keys, by another version, and which of them can be relied on."""

from __future__ import annotations

from collections.abc import Iterable

from hotfire.rules.evidence import Evidence, Role, Trial
from hotfire.rules.zero.seen import Seen, see
from hotfire.rules.zero.stages import STAGE_PATH

_VERSIONS = "/cluster/versions"
#: Arguments that only repeat a key of the DeepSpeed config: a patch of that key must change them too.
_MIRRORS = {
    "fp16",
    "bf16",
    "learning_rate",
    "warmup_steps",
    "warmup_ratio",
    "max_grad_norm",
    "weight_decay",
    "adam_beta1",
    "adam_beta2",
    "adam_epsilon",
    "gradient_accumulation_steps",
    "per_device_train_batch_size",
}


def repeats(evidence: Evidence) -> dict[str, Trial]:
    """Name of a trial -> the trial that ran the same once more."""
    return {trial.repeats: trial for trial in evidence.trials or [] if trial.repeats}


def is_unstable(trial: Trial, evidence: Evidence) -> bool:
    """Run again, it went another way."""
    again = repeats(evidence).get(trial.name)
    if again is None:
        return False
    one, other = see(trial, evidence), see(again, evidence)
    return one.healthy != other.healthy or one.judged.outcome is not other.judged.outcome


def smallest_key_cure(evidence: Evidence, stage: int | None) -> Seen | None:
    """Of the trials at the submitted stage that train like the reference: the smallest patch of keys."""
    cures = [
        seen
        for trial in _changed(evidence)
        if trial.stage == stage and config_keys(trial)
        if (seen := see(trial, evidence)).healthy and not is_unstable(trial, evidence)
    ]
    # Of patches of one size the one that names a key, not the object around it.
    return min(
        cures,
        key=lambda seen: (
            len(config_keys(seen.trial)),
            len(seen.trial.patch),
            -sum(key.count("/") for key in config_keys(seen.trial)),
        ),
        default=None,
    )


def version_cure(evidence: Evidence) -> Seen | None:
    """A trial of the same config under other library versions, which trains like the reference."""
    for trial in _changed(evidence):
        if all(operation.path.startswith(_VERSIONS) for operation in trial.patch):
            seen = see(trial, evidence)
            if seen.healthy:
                return seen
    return None


def _changed(evidence: Evidence) -> Iterable[Trial]:
    wanted = (Role.STAGE, Role.BISECT, Role.FIX)
    return (t for t in evidence.trials or [] if t.patch and t.role in wanted and not t.repeats)


def config_keys(trial: Trial) -> list[str]:
    """The keys of the DeepSpeed config that a patch changes; empty if it changes anything else than those."""
    keys: list[str] = []
    for operation in trial.patch:
        if operation.path.startswith("/deepspeed/") and operation.path != STAGE_PATH:
            keys.append(operation.path)
        elif operation.path.removeprefix("/training/") not in _MIRRORS:
            return []
    return keys
