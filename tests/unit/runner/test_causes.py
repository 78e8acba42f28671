"""Who is to blame. Texts are those that torch 2.13 with gloo prints."""

from __future__ import annotations

from typing import Any

import pytest

from hotfire.rules.evidence import TrialOutcome
from hotfire_workers.runner.causes import is_out_of_memory, root_cause
from hotfire_workers.runner.events import RankState

RESET = "[gloo/transport/tcp/pair.cc:553] Connection closed by peer [127.0.0.1]:40680. This is typically"
TIMED_OUT = "Timed out waiting 3000ms for recv operation to complete"
BARRIER = "Rank 0: Ranks 1 failed to pass monitoredBarrier in 2000 ms"


def rank(
    number: int, *, error: tuple[int, str, str] | None = None, ended: bool = False, lost: int | None = None
) -> RankState:
    """Rank `number` with process id 100 + number; `error` is (t_ns, type, text)."""
    state = RankState(number)
    state.take({"ev": "start", "t_ns": 1, "pid": 100 + number})
    state.take({"ev": "enter", "t_ns": 2, "name": "steps"})
    if error:
        state.take({"ev": "error", "t_ns": error[0], "type": error[1], "text": error[2]})
    if ended:
        state.take({"ev": "end", "t_ns": 9})
    state.lost_t_ns = lost
    return state


def agent(first: tuple[int, int]) -> dict[str, Any]:
    """agent.json: the first failure (rank, code)."""
    return {"first_failure": {"rank": first[0], "exit_code": first[1], "message": "m"}, "error": None}


def exits(**ranks: tuple[int, int]) -> list[dict[str, Any]]:
    """exits.jsonl: rank{r}=(code, t_ns)."""
    return [{"pid": 100 + int(n[4:]), "exit_code": e[0], "t_ns": e[1]} for n, e in ranks.items()]


def test_the_earliest_error_that_is_no_echo() -> None:
    ranks = [rank(0, error=(5, "RuntimeError", RESET)), rank(1, error=(6, "ValueError", "bad row"))]
    cause = root_cause(ranks, agent((0, 1)), oom_killed=False)
    assert cause.outcome is TrialOutcome.CRASHED
    assert (cause.error.rank, cause.error.message, cause.error.phase) == (1, "bad row", "steps")


def test_both_raise_the_first_is_named() -> None:
    ranks = [rank(0, error=(8, "ValueError", "later")), rank(1, error=(6, "ValueError", "first"))]
    assert root_cause(ranks, None, oom_killed=None).error.message == "first"


def test_a_killed_rank_is_named_though_the_agent_blames_its_victim() -> None:
    ranks = [rank(0, error=(6, "RuntimeError", RESET)), rank(1), rank(2)]
    account, children = agent((0, 1)), exits(rank0=(1, 7), rank1=(-9, 5), rank2=(-15, 8))
    cause = root_cause(ranks, account, children=children, oom_killed=False)
    assert (cause.outcome, cause.error.rank, cause.error.signal) == (TrialOutcome.CRASHED, 1, "SIGKILL")
    assert "not by the kernel's out-of-memory killer" in cause.error.message


@pytest.mark.parametrize("oom_killed", [True, None])
def test_sigkill_is_out_of_memory_when_the_kernel_says_so_or_cannot_say(oom_killed: bool | None) -> None:
    cause = root_cause(
        [rank(0), rank(1)], agent((1, -9)), children=exits(rank1=(-9, 5)), oom_killed=oom_killed
    )
    assert cause.outcome is TrialOutcome.OUT_OF_MEMORY
    assert cause.error.rank == 1


def test_only_a_victim_spoke_the_silent_rank_is_the_suspect() -> None:
    cause = root_cause([rank(0, error=(6, "RuntimeError", RESET)), rank(1)], None, oom_killed=False)
    assert (cause.outcome, cause.error.rank, cause.error.type) == (TrialOutcome.CRASHED, 1, "SilentExit")


@pytest.mark.parametrize("text", [TIMED_OUT, BARRIER])
def test_a_time_out_is_a_hang_of_the_one_that_did_not_answer(text: str) -> None:
    cause = root_cause([rank(0, error=(6, "RuntimeError", text)), rank(1)], agent((0, 1)), oom_killed=False)
    assert (cause.outcome, cause.error.rank) == (TrialOutcome.HUNG, 1)


def test_the_barrier_names_the_culprit_among_several_silent_ranks() -> None:
    text = "Rank 0: Ranks 2 failed to pass monitoredBarrier in 2000 ms"
    cause = root_cause([rank(0, error=(6, "RuntimeError", text)), rank(1), rank(2)], None, oom_killed=False)
    assert cause.error.rank == 2


def test_a_users_own_time_out_is_no_hang() -> None:
    error = (6, "ReadTimeoutError", "HTTP request timed out")
    cause = root_cause([rank(0, error=error), rank(1)], None, oom_killed=False)
    assert (cause.outcome, cause.error.type) == (TrialOutcome.CRASHED, "ReadTimeoutError")


def test_a_rank_found_gone() -> None:
    cause = root_cause([rank(0), rank(1, lost=7)], None, oom_killed=False)
    assert (cause.outcome, cause.error.rank) == (TrialOutcome.CRASHED, 1)
    assert root_cause([rank(0), rank(1, lost=7)], None, oom_killed=True).outcome is TrialOutcome.OUT_OF_MEMORY


def test_exit_code_without_a_word() -> None:
    cause = root_cause(
        [rank(0, ended=True), rank(1)], agent((1, 3)), children=exits(rank1=(3, 5)), oom_killed=False
    )
    assert (cause.error.type, cause.error.rank, cause.error.exit_code) == ("SilentExit", 1, 3)


def test_an_exit_is_known_though_the_agent_was_ended_before_its_account() -> None:
    """Its logging of a failure imports sympy: on a busy machine that takes longer than the runner waits."""
    ranks = [rank(0, error=(6, "RuntimeError", RESET)), rank(1, error=(5, "ValueError", "bad row"))]
    cause = root_cause(ranks, None, children=exits(rank0=(-15, 8), rank1=(1, 7)), oom_killed=False)
    assert (cause.error.rank, cause.error.message, cause.error.exit_code) == (1, "bad row", 1)
    cause = root_cause([rank(0), rank(1)], None, children=exits(rank0=(1, 8), rank1=(-9, 5)), oom_killed=True)
    assert (cause.outcome, cause.error.rank) == (TrialOutcome.OUT_OF_MEMORY, 1)


def test_a_rank_without_a_start_line_is_placed_by_elimination() -> None:
    cause = root_cause(
        [rank(0), RankState(1)], agent((1, -11)), children=exits(rank1=(-11, 5)), oom_killed=False
    )
    assert (cause.error.rank, cause.error.signal) == (1, "SIGSEGV")


def test_the_agents_account_when_nothing_else_is_known() -> None:
    account = {"first_failure": None, "error": "OSError: no port"}
    assert root_cause([RankState(0)], account, oom_killed=False).error.message == "OSError: no port"
    assert root_cause([RankState(0)], None, oom_killed=False).error.type == "LaunchError"


@pytest.mark.parametrize(
    ("kind", "text", "expected"),
    [
        ("OutOfMemoryError", "CUDA out of memory. Tried to allocate 2.00 GiB", True),
        ("torch.OutOfMemoryError", "", True),
        ("RuntimeError", "DefaultCPUAllocator: can't allocate memory: you tried to allocate 4 bytes", True),
        ("RuntimeError", "[Errno 12] Cannot allocate memory", True),
        ("MemoryError", "", True),
        ("RuntimeError", "CUDA error: an illegal memory access was encountered", False),
        ("ValueError", "memory", False),
    ],
)
def test_what_counts_as_out_of_memory(kind: str, text: str, expected: bool) -> None:
    assert is_out_of_memory(kind, text) is expected
