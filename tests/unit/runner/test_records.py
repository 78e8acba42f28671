from __future__ import annotations

import dataclasses
import math
from pathlib import Path

import pytest

from hotfire.rules.evidence import DataEvidence, Phase, PreparedRow, Sample, Step, Token, Trial, TrialError
from hotfire_workers.runner import records


def test_nested_records_come_back_as_they_went(tmp_path: Path) -> None:
    row = PreparedRow(row=1, num_tokens=2, num_tokens_untruncated=3, num_supervised=1, labels=[-100, 4])
    data = DataEvidence(rows=[row], samples=[Sample(row=1, tokens=[Token(id=4, trained=True)])], max_length=8)
    records.write(tmp_path / "data.json", data)
    assert records.read(tmp_path / "data.json", DataEvidence) == data


def test_enums_unions_and_unknown_names() -> None:
    values = {"step": 1, "phase": "PEAK", "loss": math.inf, "from_a_newer_version": 1}
    step = records.from_dict(Step, values)
    assert (step.phase, step.loss) == (Phase.PEAK, math.inf)
    error = TrialError(type="E", message="m")
    trial = Trial(name="t", role="CANDIDATE", error=error)  # type: ignore[arg-type]
    assert records.from_dict(Trial, dataclasses.asdict(trial)).error == error


def test_not_an_object(tmp_path: Path) -> None:
    (tmp_path / "x.json").write_text("[]")
    with pytest.raises(ValueError, match="expected a JSON object"):
        records.read(tmp_path / "x.json", DataEvidence)
