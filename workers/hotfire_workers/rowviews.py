"""The token views that `GetRow` answers with: the rows that ran, and the rows that findings name."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Iterator, Sequence
from pathlib import Path

from hotfire.rules.evidence import Finding, Sample, Severity, Token, Trial

_MAX_ROWS = 500
_MAX_SHOWN = 5
_ORDER = {Severity.ERROR: 0, Severity.WARNING: 1, Severity.INFO: 2}


def wanted(folder: Path, trials: Sequence[Trial], findings: Sequence[Finding]) -> list[Sample]:
    """The views, at most 500: those that findings name in front.

    Args:
        folder: Of the preparation; its `samples.jsonl` holds a view of every row that trials may take.
        trials: What ran.
        findings: What was found.
    """
    named = {row for finding in findings for row in _rows_of(finding)}
    ran = set(_ran(trials))
    found: list[Sample] = []
    for sample in _views(folder / "samples.jsonl", named | ran):
        reasons = [sample.why] if sample.why else []
        reasons += [f"named by {names}"] if (names := _names(findings, sample.row)) else []
        reasons += ["ran in a trial"] if sample.row in ran else []
        found.append(dataclasses.replace(sample, why=", ".join(reasons)))
    found.sort(key=lambda sample: sample.row not in named)
    return found[:_MAX_ROWS]


def first_named(views: Sequence[Sample], findings: Sequence[Finding]) -> list[Sample]:
    """A few of the views, to be shown first: of each finding one row, the gravest in front; then more of them."""
    by_row = {view.row: view for view in views}
    shown: dict[int, Sample] = {}
    ordered = sorted(findings, key=lambda f: _ORDER[f.severity or Severity.INFO])
    columns = [
        [row for row in dict.fromkeys(_rows_of(f)) if row in by_row]
        for f in ordered
        if f.severity is not Severity.INFO
    ]
    for place in range(max(map(len, columns), default=0)):
        for column in columns:
            if place < len(column) and len(shown) < _MAX_SHOWN:
                shown[column[place]] = by_row[column[place]]
    return list(shown.values())


def _names(findings: Sequence[Finding], row: int) -> str:
    return ", ".join(dict.fromkeys(f.rule for f in findings if row in _rows_of(f)))


def _views(path: Path, rows: set[int]) -> Iterator[Sample]:
    if not path.is_file():
        return
    with path.open(encoding="utf-8") as lines:
        for line in lines:
            fields = json.loads(line)
            if fields["row"] not in rows:
                continue
            parts = zip(fields["ids"], fields["texts"], fields["trained"], strict=True)
            yield Sample(
                row=fields["row"],
                why=fields["why"],
                tokens=[Token(id=i, text=text, trained=bool(trained)) for i, text, trained in parts],
            )


def _rows_of(finding: Finding) -> list[int]:
    rows = finding.evidence.get("rows")
    found = [row for row in rows if isinstance(row, int)] if isinstance(rows, list) else []
    if finding.location is not None and finding.location.row is not None:
        found.insert(0, finding.location.row)
    return found


def _ran(trials: Sequence[Trial]) -> Iterator[int]:
    for trial in trials:
        for step in trial.steps:
            for rank in step.ranks:
                for batch in rank.micro_batches:
                    yield from batch.rows
