"""Why a trial did not reach its end: the earliest failure that is not the echo of another.

When one rank fails, its peers fail too within milliseconds, with "connection reset by peer"; the elastic
agent reports one failure, and often that of a victim. So the ranks' own error lines and their exits, both on
the machine's monotonic clock, are the evidence, and the agent's account supplements them.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from hotfire.rules.evidence import TrialError, TrialOutcome
from hotfire_workers.runner.events import RankError, RankState
from hotfire_workers.runner.tree import signal_name

_VICTIM = re.compile(
    r"connection reset|connection closed|closed by peer|connection refused|broken pipe|remote process exited"
    r"|got 0 bytes|failed to recv|recvValue failed|sendBytes failed|recvBytes|ncclRemoteError|ncclSystemError"
    r"|socket timeout|timed out|wait timeout|watchdog caught collective",
    re.IGNORECASE,
)
_TIMED_OUT = re.compile(r"timed out|timeout|failed to pass monitoredBarrier", re.IGNORECASE)
_COMMUNICATION_TYPES = {
    "RuntimeError", "DistNetworkError", "DistBackendError", "DistStoreError", "DistError", "ConnectionError",
    "ConnectionResetError", "ConnectionRefusedError", "BrokenPipeError", "TimeoutError",
}  # fmt: skip
_BARRIER = re.compile(r"ranks?\s+([\d,\s]+?)\s+failed to pass monitoredBarrier", re.IGNORECASE)
_OUT_OF_MEMORY = re.compile(
    r"out of memory|can't allocate memory|cannot allocate memory|not enough memory|bad_alloc"
    r"|CUBLAS_STATUS_ALLOC_FAILED|CUDNN_STATUS_ALLOC_FAILED",
    re.IGNORECASE,
)
_OUT_OF_MEMORY_TYPES = {"OutOfMemoryError", "MemoryError"}


@dataclass(slots=True)
class Exit:
    """How one rank's process ended, as its agent's kernel saw it."""

    rank: int
    exit_code: int | None
    """Negative: ended by that signal. None: not known."""
    t_ns: int


@dataclass(slots=True)
class Cause:
    """What became of a trial that did not complete. `outcome` None: the run rules decide."""

    outcome: TrialOutcome | None = None
    error: TrialError | None = None
    reason: str | None = None


def is_victim(error: RankError) -> bool:
    """The error says that a peer went away or did not answer."""
    return error.type in _COMMUNICATION_TYPES and bool(
        _VICTIM.search(error.text) or _BARRIER.search(error.text)
    )  # fmt: skip


def is_out_of_memory(error_type: str, text: str) -> bool:
    """An allocation failed, on the host or on the device."""
    return error_type.rpartition(".")[2] in _OUT_OF_MEMORY_TYPES or bool(_OUT_OF_MEMORY.search(text))


def exits_of(children: Sequence[dict[str, Any]], ranks: list[RankState]) -> list[Exit]:
    """The exits of the agent's children, by rank. One child without a start line is placed by elimination."""
    by_pid = {state.pid: state.rank for state in ranks if state.pid is not None}
    unplaced = [state.rank for state in ranks if state.pid is None]
    found = []
    for entry in children:
        rank = by_pid.get(entry["pid"])
        if rank is None and len(unplaced) == 1:
            rank = unplaced[0]
        if rank is not None:
            found.append(Exit(rank, int(entry["exit_code"]), int(entry["t_ns"])))
    return found


def root_cause(
    ranks: list[RankState],
    agent: dict[str, Any] | None,
    *,
    children: Sequence[dict[str, Any]] = (),
    oom_killed: bool | None,
) -> Cause:
    """Find the root cause of a trial whose ranks did not all end, from the evidence alone.

    Args:
        ranks: Every rank's state.
        agent: `agent.json`; None when the agent was killed before it could write it.
        children: `exits.jsonl`: how each of the agent's children ended, as far as it saw.
        oom_killed: The kernel's out-of-memory killer struck while the trial ran; None: not known.
    """
    exits = exits_of(children, ranks)
    # Whoever wrote an error line has said more than its exit code does. A SIGTERM is the agent's, to the
    # others.
    wrote = {state.rank for state in ranks if state.errors or state.ended}
    silent = [e for e in exits if e.rank not in wrote and e.exit_code != -15]
    primary = [(e.t_ns, s.rank, e) for s in ranks for e in s.errors[:1] if not is_victim(e)]
    candidates: list[tuple[int, int, RankError | Exit]] = [*primary, *((e.t_ns, e.rank, e) for e in silent)]
    if not candidates:
        # Found gone by the runner; how it ended is not known.
        candidates = [(s.lost_t_ns, s.rank, Exit(s.rank, None, s.lost_t_ns)) for s in ranks if s.lost_t_ns]
    if candidates:
        _, rank, found = min(candidates, key=lambda item: item[0])
        state = next(s for s in ranks if s.rank == rank)
        if isinstance(found, RankError):
            return _from_error(rank, found, exits)
        return _from_exit(state, found, oom_killed)
    return _without_primary(ranks, agent, exits, wrote, oom_killed)


def _from_error(rank: int, error: RankError, exits: list[Exit]) -> Cause:
    out_of_memory = is_out_of_memory(error.type, error.text)
    code = next((e.exit_code for e in exits if e.rank == rank), None)
    return Cause(
        outcome=TrialOutcome.OUT_OF_MEMORY if out_of_memory else TrialOutcome.CRASHED,
        error=TrialError(
            type=error.type,
            message=error.text,
            rank=rank,
            exit_code=code,
            signal=signal_name(code),
            phase=error.phase,
            traceback=error.traceback,
        ),
    )


def _from_exit(state: RankState, ended: Exit, oom_killed: bool | None) -> Cause:
    name = signal_name(ended.exit_code)
    outcome = TrialOutcome.CRASHED
    if ended.exit_code is None:
        kind = "SilentExit"
        message = f"rank {state.rank} is gone: it ended without an error and without finishing"
        if oom_killed:
            outcome = TrialOutcome.OUT_OF_MEMORY
            message += "; the kernel's out-of-memory killer struck while the trial ran"
    elif name is None:
        kind = "SilentExit"
        message = (
            f"rank {state.rank} ended with exit code {ended.exit_code} without an error and without finishing"
        )
    elif name == "SIGKILL":
        kind = "Killed"
        message = f"rank {state.rank} was killed (SIGKILL)"
        if oom_killed is False:
            message += "; not by the kernel's out-of-memory killer, which did not strike while the trial ran"
        else:
            outcome = TrialOutcome.OUT_OF_MEMORY
            message += (
                " by the kernel's out-of-memory killer"
                if oom_killed
                else "; this machine does not tell whether its out-of-memory killer did it, the usual sender"
            )
    else:
        kind = "Killed"
        message = f"rank {state.rank} was ended by {name}"
    error = TrialError(
        type=kind, message=message, rank=state.rank, exit_code=ended.exit_code, signal=name, phase=state.phase
    )
    return Cause(outcome=outcome, error=error)


def _without_primary(
    ranks: list[RankState],
    agent: dict[str, Any] | None,
    exits: list[Exit],
    wrote: set[int],
    oom_killed: bool | None,
) -> Cause:
    """Only victims spoke, or nobody did: the suspect is the rank that said nothing."""
    victims = sorted(((e.t_ns, s.rank, e) for s in ranks for e in s.errors[:1]), key=lambda item: item[0])
    suspects = [s for s in ranks if s.rank not in wrote]
    first = (agent or {}).get("first_failure")
    if victims:
        _, rank, error = victims[0]
        named = _BARRIER.search(error.text)
        hung = bool(_TIMED_OUT.search(error.text))
        blamed = int(named[1].split(",")[0]) if named else suspects[0].rank if len(suspects) == 1 else None
        if hung:
            who = f"rank {blamed}" if blamed is not None else "a peer"
            message = f"{who} did not answer: rank {rank} reports {error.text}"
            return Cause(
                outcome=TrialOutcome.HUNG,
                error=TrialError(type="Hung", message=message, rank=blamed, phase=error.phase),
            )
        if blamed is not None:
            code = first["exit_code"] if first and first.get("rank") == blamed else None
            if code is not None and code < 0:
                return _from_exit(
                    next(s for s in ranks if s.rank == blamed), Exit(blamed, code, 0), oom_killed
                )
            message = f"rank {blamed} went away without a word; rank {rank} reports {error.text}"
            return Cause(
                outcome=TrialOutcome.CRASHED,
                error=TrialError(type="SilentExit", message=message, rank=blamed, exit_code=code),
            )
        return _from_error(rank, error, exits)
    if first:
        code = first["exit_code"]
        state = next((s for s in ranks if s.rank == first["rank"]), None)
        if state is not None and code <= 0:
            return _from_exit(state, Exit(state.rank, code, 0), oom_killed)
        text = first.get("message") or f"exit code {code}"
        outcome = TrialOutcome.OUT_OF_MEMORY if is_out_of_memory("", text) else TrialOutcome.CRASHED
        return Cause(
            outcome=outcome,
            error=TrialError(type="SilentExit", message=text, rank=first["rank"], exit_code=code),
        )
    message = (agent or {}).get("error") or "no rank finished and none says why"
    return Cause(outcome=TrialOutcome.CRASHED, error=TrialError(type="LaunchError", message=message))
