"""What a slot and a run directory need on disk; no process is started here."""

from __future__ import annotations

from pathlib import Path

import pytest

from hotfire.rules.evidence import TrialRequest
from hotfire_workers.runner import attend
from hotfire_workers.runner.base import RunnerError
from hotfire_workers.runner.service import WarmService


def test_a_socket_path_beyond_the_kernels_limit_moves_to_a_short_folder(tmp_path: Path) -> None:
    short = WarmService("s", tmp_path / "c")
    assert short.socket_path == tmp_path / "c" / "run" / "s" / "warm.sock"
    long = WarmService("s", tmp_path / ("x" * 120))
    assert len(str(long.socket_path)) < 107
    assert long.socket_path.parent.exists()
    long.stop()
    assert not long.socket_path.parent.exists()


def test_slots_of_different_caches_do_not_sweep_each_other(tmp_path: Path) -> None:
    assert WarmService("s", tmp_path / "a").marker != WarmService("s", tmp_path / "b").marker
    assert WarmService("s", tmp_path / "a").marker == WarmService("s", tmp_path / "a").marker


def _request(run_dir: str) -> TrialRequest:
    return TrialRequest(
        name="t",
        role="CANDIDATE",
        run_dir=run_dir,
        prepared_dir=run_dir,
        model={},
        training={},
        deepspeed=None,
        loop="TRAINER",
        num_ranks=1,
    )


def test_an_earlier_attempts_lines_do_not_count(tmp_path: Path) -> None:
    for attempt in (0, 1, 2):
        attend.lay_out(_request(str(tmp_path)))
        assert not list((tmp_path / "events").iterdir())
        (tmp_path / "events" / "rank0.jsonl").write_text(f"{attempt}\n")
    assert (tmp_path / "attempt-1" / "events" / "rank0.jsonl").read_text() == "0\n"
    assert (tmp_path / "attempt-2" / "events" / "rank0.jsonl").read_text() == "1\n"


def test_a_run_directory_is_absolute() -> None:
    with pytest.raises(RunnerError, match="expected an absolute path"):
        attend.lay_out(_request("relative"))
