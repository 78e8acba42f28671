"""One printed record, `{'loss': 0.0, 'grad_norm': nan, …}`, as numbers. Nothing is evaluated, nothing filtered."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from hotfire.logs.records import LogEntry

#: A record without nested ones: where ranks write into each other's lines, the whole ones are still found.
RECORD = re.compile(r"\{[^{}]*\}")
#: A name and what stands behind it: a number, a text in quotes, nan, or a call such as np.float64(0.5).
_PAIR = re.compile(
    r"""["'](?P<name>[^"']{1,80})["']\s*:\s*(?:"(?P<double>[^"]*)"|'(?P<single>[^']*)'|(?P<bare>[\w.+-]+(?:\([^)]*\))?))"""
)
_CALL = re.compile(r"[\w.]+\(\s*(?P<inner>[\w.+-]+)")
_RATES = ("learning_rate", "lr")
_STEPS = ("step", "current_steps", "global_step", "global_steps", "iteration", "iter")
#: Names that only reinforcement learning prints.
_REWARD = re.compile(r"^(reward|rewards/|advantage|kl$|completion|objective/|policy/)")


def pairs(text: str) -> dict[str, str]:
    """Names and values of a printed record, as text."""
    found = {}
    for match in _PAIR.finditer(text):
        value = next(v for v in (match["double"], match["single"], match["bare"]) if v is not None)
        found[match["name"]] = value
    return found


def number(value: Any) -> float | None:
    """A number, NaN and infinity too; None for anything else."""
    if isinstance(value, bool) or value is None:
        return None
    if isinstance(value, int | float):
        return float(value)
    text = str(value).strip()
    if (call := _CALL.match(text)) is not None:
        text = call["inner"]
    try:
        return float(text)
    except ValueError:
        return None


def entry_of(
    record: Mapping[str, Any], *, line: int | None = None, rank: int | None = None
) -> LogEntry | None:
    """A training entry; None for evaluations, summaries and other records.

    Args:
        record: Name -> value, as text or as JSON has it.
        line: Line of the file.
        rank: Who printed it.
    """
    loss = number(record.get("loss"))
    rate = next((value for name in _RATES if (value := number(record.get(name))) is not None), None)
    norm = number(record.get("grad_norm"))
    if loss is None or (rate is None and norm is None and "epoch" not in record and _step(record) is None):
        return None
    spread = number(record.get("reward_std"))
    return LogEntry(
        line=line,
        step=_step(record),
        epoch=number(record.get("epoch")),
        loss=loss,
        grad_norm=norm,
        learning_rate=rate,
        rank=rank,
        is_reinforcement=any(_REWARD.match(str(name)) for name in record),
        reward_spread=spread,
    )


def is_summary(record: Mapping[str, Any]) -> bool:
    """What the Trainer prints at the end."""
    return "train_runtime" in record


def eval_loss(record: Mapping[str, Any]) -> float | None:
    """The loss of an evaluation."""
    return number(record.get("eval_loss"))


def total_steps(record: Mapping[str, Any]) -> int | None:
    """The length of the job, where a record says it (LLaMA-Factory, ms-swift)."""
    if (total := number(record.get("total_steps"))) is not None:
        return int(total)
    _, slash, after = str(record.get("global_step/max_steps", "")).partition("/")
    return int(after) if slash and after.isdigit() else None


def _step(record: Mapping[str, Any]) -> int | None:
    before, slash, _ = str(record.get("global_step/max_steps", "")).partition("/")
    if slash and before.isdigit():
        return int(before)
    for name in _STEPS:
        value = number(record.get(name))
        if value is not None and value == int(value) and value >= 0:
            return int(value)
    return None
