"""The token views that `GetRow` answers with: the rows that ran, and the rows that findings name."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from pathlib import Path

from hotfire import wire
from hotfire.rules.evidence import Finding, Trial
from hotfire.v1 import report_pb2

_MAX_ROWS = 500


def wanted(folder: Path, trials: Sequence[Trial], findings: Sequence[Finding]) -> list[report_pb2.Sample]:
    """The views, at most 500.

    Args:
        folder: Of the preparation; its `samples.jsonl` holds a view of every row that trials may take.
        trials: What ran.
        findings: What was found.
    """
    named, ran = set(_named(findings)), set(_ran(trials))
    found: list[report_pb2.Sample] = []
    for sample in _views(folder / "samples.jsonl"):
        if sample.row not in named and sample.row not in ran:
            continue
        reasons = [sample.why] if sample.why else []
        reasons += ["named by a finding"] if sample.row in named else []
        reasons += ["ran in a trial"] if sample.row in ran else []
        sample.why = ", ".join(reasons)
        found.append(sample)
    found.sort(key=lambda sample: sample.row not in named)
    return found[:_MAX_ROWS]


def _views(path: Path) -> Iterator[report_pb2.Sample]:
    if not path.is_file():
        return
    with path.open(encoding="utf-8") as lines:
        for line in lines:
            if line.strip():
                yield wire.record_to_message(json.loads(line), report_pb2.Sample)


def _named(findings: Sequence[Finding]) -> Iterator[int]:
    for finding in findings:
        if finding.location is not None and finding.location.row is not None:
            yield finding.location.row
        rows = finding.evidence.get("rows")
        if isinstance(rows, list):
            yield from (row for row in rows if isinstance(row, int))


def _ran(trials: Sequence[Trial]) -> Iterator[int]:
    for trial in trials:
        for step in trial.steps:
            for rank in step.ranks:
                for batch in rank.micro_batches:
                    yield from batch.rows
