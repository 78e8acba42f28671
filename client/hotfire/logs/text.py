"""Lines of a log: the Trainer's records, DeepSpeed's messages, progress bars, tracebacks, ranks in between.

Source of the messages: DeepSpeed `runtime/fp16/loss_scaler.py`, `zero/stage_1_and_2.py`, `zero/stage3.py`,
`fp16/fused_optimizer.py` ("OVERFLOW! Rank 0 Skipping step. Attempted loss scale: …"), `engine.py`
("step=…, skipped=…, lr=[…]").
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterable, Mapping
from itertools import pairwise
from typing import Any

from hotfire.logs.failures import FailureReader
from hotfire.logs.numbers import RECORD, entry_of, eval_loss, is_summary, number, pairs, total_steps
from hotfire.logs.order import in_order
from hotfire.logs.records import EngineReport, JobLog, LogEntry

_RANK = re.compile(
    r"^\s*(?:\[default(?P<a>\d+)\]:\s*)?(?:\[rank ?(?P<b>\d+)\]:?\s?|\[\d+,(?P<c>\d+)\]<std\w+>:\s?|(?P<d>\d{1,5}):\s)?"
)
_OVERFLOW = re.compile(
    r"OVERFLOW!(?:\s*Rank\s+(?P<rank>\d+))?\s*Skipping step\.?"
    r"(?:\s*Attempted loss scale:?\s*(?P<scale>[\d.e+]+))?(?P<waits>, but hysteresis)?",
    re.IGNORECASE,
)
_ENGINE = re.compile(r"step=(?P<step>\d+), skipped=(?P<skipped>\d+), lr=\[(?P<rate>[^\],]*)")
_BAR = re.compile(r"\|\s*(?P<done>\d+)/(?P<total>\d+)\s*\[")
_VERSIONS = (
    ("deepspeed", re.compile(r"DeepSpeed info: version=(?P<version>\d+\.\d+\.\d+)")),
    ("deepspeed", re.compile(r"deepspeed info \.+ (?P<version>\d+\.\d+\.\d+)")),
    ("torch", re.compile(r"torch version \.+ (?P<version>\d+\.\d+\.\d+)")),
    ("transformers", re.compile(r"^- `?transformers`? version: (?P<version>\d+\.\d+\.\d+)")),
    ("torch", re.compile(r"^- PyTorch version(?: \(GPU\?\))?: (?P<version>\d+\.\d+\.\d+)")),
    ("deepspeed", re.compile(r"^- DeepSpeed version: (?P<version>\d+\.\d+\.\d+)")),
)


def read_lines(lines: Iterable[str], *, name: str) -> JobLog:
    """A log from its lines.

    Args:
        lines: Without line ends.
        name: Of the file.
    """
    reader = _Reader(name)
    for line_number, line in enumerate(lines, start=1):
        reader.line(line, line_number)
    return reader.log()


class _Reader:
    def __init__(self, name: str) -> None:
        self._log = JobLog(name=name, format="text")
        self._failures = FailureReader()
        self._bar: tuple[int, int] | None = None
        self._pending: dict[int, list[float | None]] = {}
        """Rank -> loss scales of the steps it skipped since the last entry."""
        self._raw: list[LogEntry] = []
        self._num_json = 0

    def line(self, line: str, number_: int) -> None:
        if not line.strip():
            return
        rank, text = _split_rank(line)
        if self._whole_record(text, number_, rank):
            return
        self._failures.line(text, rank)
        if (bar := _BAR.search(text)) is not None:
            self._bar = int(bar["done"]), int(bar["total"])
        if "OVERFLOW" in text.upper() and (found := _OVERFLOW.search(text)) is not None:
            who = int(found["rank"]) if found["rank"] else rank or 0
            self._pending.setdefault(who, []).append(number(found["scale"]))
        if (report := _ENGINE.search(text)) is not None:
            self._engine(report)
        if "loss" in text and "{" in text:
            for record in RECORD.findall(text):
                self._record(pairs(record), number_, rank)
        self._version(text)

    def log(self) -> JobLog:
        log = self._log
        log.format = "jsonl" if self._num_json and self._num_json >= len(self._raw) else "text"
        log.entries, notes = in_order(self._raw)
        _number_by_bar(log.entries)
        log.notes += notes
        log.overflows = self._take_overflows()
        log.num_overflows += len(log.overflows)
        log.error = self._failures.error()
        if (
            log.max_steps is None
            and self._bar is not None
            and log.entries
            and self._bar[1] >= len(log.entries)
        ):
            log.max_steps = self._bar[1]
        if log.entries and log.entries[-1].step is not None:
            log.global_step = log.entries[-1].step
        return log

    def _whole_record(self, text: str, number_: int, rank: int | None) -> bool:
        """A line that is one JSON object."""
        stripped = text.strip()
        if not (stripped.startswith("{") and stripped.endswith("}")):
            return False
        try:
            record = json.loads(stripped)
        except ValueError:
            return False
        if not isinstance(record, Mapping):
            return False
        self._num_json += 1
        inner = record.get("log_history") or record.get("logs") or record.get("metrics")
        self._record(inner if isinstance(inner, Mapping) else record, number_, rank)
        return True

    def _record(self, record: Mapping[str, Any], number_: int, rank: int | None) -> None:
        log = self._log
        log.finished = log.finished or is_summary(record)
        value = eval_loss(record)
        log.num_eval_non_finite += value is not None and not math.isfinite(value)
        log.max_steps = total_steps(record) or log.max_steps
        entry = entry_of(record, line=number_, rank=rank)
        if entry is None:
            return
        scales = self._take_overflows()
        entry.num_overflows = len(scales)
        entry.loss_scale = next((scale for scale in reversed(scales) if scale is not None), None)
        log.num_overflows += len(scales)
        entry.progress = self._bar[0] if self._bar is not None else None
        self._raw.append(entry)

    def _take_overflows(self) -> list[float | None]:
        """Skipped steps since the last entry: of the rank that told of most."""
        longest = max(self._pending.values(), key=len, default=[])
        self._pending = {}
        return longest

    def _engine(self, report: re.Match[str]) -> None:
        found = EngineReport(
            step=int(report["step"]), skipped=int(report["skipped"]), learning_rate=number(report["rate"])
        )
        if not self._log.engine or self._log.engine[-1].step != found.step:
            self._log.engine.append(found)

    def _version(self, text: str) -> None:
        if "ersion" not in text and "info ." not in text:
            return
        for library, pattern in _VERSIONS:
            if (match := pattern.search(text)) is not None:
                self._log.versions.setdefault(library, match["version"])


def _split_rank(line: str) -> tuple[int | None, str]:
    match = _RANK.match(line)
    if match is None:
        return None, line
    rank = next((int(g) for g in match.groups() if g is not None), None)
    return rank, line[match.end() :] if rank is not None else line


def _number_by_bar(entries: list[LogEntry]) -> None:
    """Steps from the progress bar, where it moved on between any two entries: it is redrawn ten times a second."""
    seen = [entry.progress for entry in entries]
    known = [progress for progress in seen if progress is not None]
    if any(entry.step is not None for entry in entries) or len(known) < len(seen):
        return
    if all(before < after for before, after in pairwise(known)):
        for entry in entries:
            entry.step = entry.progress
