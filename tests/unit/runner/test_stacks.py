from __future__ import annotations

import os
from pathlib import Path

from hotfire_workers.runner import stacks
from hotfire_workers.runner.events import RankState
from hotfire_workers.runner.watch import Stop, StopKind

WAITING = """Thread 0x01 (most recent call first):
  File "/x/threading.py", line 1 in wait

Current thread 0x02 (most recent call first):
  File "/v/torch/distributed/distributed_c10d.py", line 3252 in all_reduce
  File "/v/job.py", line 5 in run
"""
BUSY = """Current thread 0x02 (most recent call first):
  File "/v/data.py", line 7 in read_for_ever
  File "/v/torch/distributed/elastic/multiprocessing/api.py", line 700 in _wrap
"""


def test_the_main_threads_frames() -> None:
    assert stacks.frames(WAITING) == [
        ("/v/torch/distributed/distributed_c10d.py", 3252, "all_reduce"),
        ("/v/job.py", 5, "run"),
    ]


def _explain(tmp_path: Path, monkeypatch: object, *texts: str) -> Stop:
    monkeypatch.setattr(stacks, "_alive_below", lambda _pid: {100, 101, 102})
    monkeypatch.setattr(stacks, "_ask", lambda _pids: None)
    ranks = []
    (tmp_path / "stacks").mkdir(exist_ok=True)
    for number, text in enumerate(texts):
        state = RankState(number)
        state.take({"ev": "start", "t_ns": 1, "pid": 100 + number})
        state.take({"ev": "enter", "t_ns": 2, "name": "steps"})
        ranks.append(state)
        (tmp_path / "stacks" / f"rank{number}.txt").write_text(text)
    return stacks.explain(Stop(StopKind.HUNG, "no progress"), ranks, tmp_path, os.getpid())


def test_the_one_that_does_not_wait_is_named(tmp_path: Path, monkeypatch: object) -> None:
    stop = _explain(tmp_path, monkeypatch, WAITING, BUSY, WAITING)
    assert (stop.rank, stop.phase) == (1, "steps")
    assert "read_for_ever (data.py:7)" in stop.text
    assert "waiting for it: rank 0, 2" in stop.text


def test_nobody_is_named_when_all_wait(tmp_path: Path, monkeypatch: object) -> None:
    stop = _explain(tmp_path, monkeypatch, WAITING, WAITING)
    assert stop.rank is None
    assert "all_reduce" in stop.text
