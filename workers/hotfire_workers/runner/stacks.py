"""Who hangs: ask every rank for its stacks and tell those that wait for a peer from the one that does not."""

from __future__ import annotations

import contextlib
import re
import signal
import time
from pathlib import Path

import psutil

from hotfire_workers.runner.events import RankState
from hotfire_workers.runner.watch import Stop

_FRAME = re.compile(r'File "([^"]+)", line (\d+) in (\S+)')
_WAITING = ("torch/distributed/distributed_c10d.py", "deepspeed/comm/")
_WAIT_S = 1.0
_NUM_FRAMES = 15


def _alive_below(root_pid: int) -> set[int]:
    """Process ids below `root_pid`: what a rank's own line says is only its word, and is not signalled on."""
    with contextlib.suppress(psutil.Error):
        return {process.pid for process in psutil.Process(root_pid).children(recursive=True)}
    return set()


def _ask(pids: list[int]) -> None:
    """Have these processes write their stacks."""
    for pid in pids:
        with contextlib.suppress(psutil.Error):
            psutil.Process(pid).send_signal(signal.SIGUSR1)


def frames(text: str) -> list[tuple[str, int, str]]:
    """(file, line, function) of the main thread, the innermost first: faulthandler writes it last."""
    last_thread = text.rpartition("hread 0x")[2]
    return [(file, int(line), function) for file, line, function in _FRAME.findall(last_thread)]


def explain(stop: Stop, ranks: list[RankState], run_dir: Path, root_pid: int) -> Stop:
    """Name the rank that hangs, as far as stacks and lines tell.

    Args:
        stop: A HUNG decision.
        ranks: Every rank's state.
        run_dir: The trial's folder; ranks write `stacks/rank{r}.txt` on SIGUSR1.
        root_pid: The process below which the ranks run.

    Returns:
        The same decision with `rank`, `phase` and a fuller text.
    """
    alive = _alive_below(root_pid)
    asked = {state.rank: state.pid for state in ranks if state.pid is not None and state.pid in alive}
    _ask(list(asked.values()))
    files = {rank: run_dir / "stacks" / f"rank{rank}.txt" for rank in asked}
    deadline = time.monotonic() + _WAIT_S
    while time.monotonic() < deadline and not all(f.exists() and f.stat().st_size for f in files.values()):
        time.sleep(0.02)
    time.sleep(0.05)  # a file that has begun is soon complete: at most 100 frames
    stacks = {rank: frames(f.read_text(errors="replace")) for rank, f in files.items() if f.exists()}
    waiting = {
        rank
        for rank, found in stacks.items()
        if any(part in file for file, _, _ in found[:_NUM_FRAMES] for part in _WAITING)
    }
    open_ranks = [state for state in ranks if not state.ended]
    suspects = [state for state in open_ranks if state.rank not in waiting]
    if len(suspects) != 1:
        # All wait, or several do not: the one that is furthest behind.
        behind = sorted(suspects or open_ranks, key=lambda state: (state.last_step, state.last_t_ns or 0))
        distinct = behind and (len(behind) == 1 or behind[0].last_step < behind[1].last_step)
        suspects = behind[:1] if distinct else []
    if not suspects:
        where = "; ".join(f"rank {r} in {_place(found)}" for r, found in stacks.items() if found)
        return Stop(stop.kind, stop.text + (f" ({where})" if where else ""), phase=_phase(open_ranks))
    suspect = suspects[0]
    text = f"{stop.text}; rank {suspect.rank} does not answer (phase {suspect.phase or 'unknown'}"
    if found := stacks.get(suspect.rank):
        text += f", in {_place(found)}"
    text += ")"
    if others := sorted(waiting - {suspect.rank}):
        text += f"; waiting for it: rank {', '.join(map(str, others))}"
    return Stop(stop.kind, text, rank=suspect.rank, phase=suspect.phase)


def _place(found: list[tuple[str, int, str]]) -> str:
    file, line, function = found[0]
    return f"{function} ({Path(file).name}:{line})"


def _phase(states: list[RankState]) -> str | None:
    return next((state.phase for state in states if state.phase), None)
