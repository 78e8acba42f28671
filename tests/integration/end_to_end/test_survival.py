"""Whatever is killed - the command, the service, the trial -, nothing is lost, doubled or left behind.

The worker that is killed as a whole: `tests/integration/workers/test_worker_process.py`.
"""

from __future__ import annotations

import signal
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import pytest
from stack_helpers import Command, Stack, event_lines, marked, none_after, run_cli
from worker_helpers import EXAMPLES, wait_for

from hotfire.v1 import preflight_pb2, report_pb2

State = preflight_pb2.State
HEALTHY = EXAMPLES / "glm4-healthy"
#: Ends by itself, but leaves time to kill something.
UNHURRIED = ("--set", "plan.num_steps=14")
#: Its first step takes minutes.
ENDLESS = ("--set", "training.gradient_accumulation_steps=100000")


def check(cli: Callable[..., Command], label: str, *options: str) -> Command:
    return cli("check", HEALTHY, "--label", f"run={label}", *options)


def test_a_killed_command_loses_nothing(stack: Stack, cli: Callable[..., Command]) -> None:
    command = check(cli, "killed-cli", *UNHURRIED)
    name = stack.find("killed-cli")
    stack.in_trial(name)
    command.until("candidate step")
    command.process.kill()
    command.process.wait()
    # The name was said at once: later it is too late.
    assert f"accepted as {name}" in command.err
    watcher = cli("watch", name)
    assert watcher.code() == 0, watcher.said
    preflight = stack.get(name)
    assert (preflight.state, preflight.attempt) == (State.STATE_SUCCEEDED, 1)
    assert preflight.report.verdict == report_pb2.VERDICT_PASS
    assert sum(" step " in line for line in stack.lines(name)) >= 28
    assert event_lines(watcher.err) == stack.lines(name)
    # Long after the end: no events any more, the same report and code.
    again = cli("watch", name)
    assert again.code() == 0
    assert again.out == watcher.out


def test_watching_survives_the_service(stack: Stack, cli: Callable[..., Command]) -> None:
    command = check(cli, "killed-service", *UNHURRIED)
    name = stack.find("killed-service")
    stack.in_trial(name)
    command.until("candidate step")
    address = stack.service.address
    stack.service.kill()
    said = len(event_lines(command.err))
    # The trial goes on meanwhile, and its events come later.
    wait_for(lambda: len(stack.lines(name)) > said + 6, 30, "the worker goes on without the service")
    assert not any("succeeded" in line for line in stack.lines(name))
    stack.service.start()
    assert stack.service.address == address
    assert command.code() == 0, command.said
    preflight = stack.get(name)
    assert (preflight.state, preflight.attempt) == (State.STATE_SUCCEEDED, 1)
    assert event_lines(command.err) == ["submitting", f"accepted as {name}", *stack.lines(name)]


def test_a_spent_budget_leaves_no_process(stack: Stack, cli: Callable[..., Command]) -> None:
    command = check(cli, "budget", *ENDLESS, "--set", "plan.time_budget=3s")
    name = stack.find("budget")
    ranks = stack.in_trial(name)
    assert command.code() == 3, command.said
    stack.no_rank_after(ranks, 10)
    preflight = stack.get(name)
    assert preflight.state == State.STATE_SUCCEEDED
    assert preflight.report.verdict == report_pb2.VERDICT_INCONCLUSIVE
    assert "budget-spent" in {f.rule for f in preflight.report.findings}
    assert "Set plan.time_budget to" in " ".join(command.out.split())


def test_a_budget_that_ends_before_the_first_trial(stack: Stack, cli: Callable[..., Command]) -> None:
    command = check(cli, "tiny", "--set", "plan.time_budget=1ms")
    assert command.code() == 3, command.said
    preflight = stack.get(stack.find("tiny"))
    assert "budget-spent" in {f.rule for f in preflight.report.findings}
    assert "time budget of 0.001 s ran out" in preflight.report.headline


def test_cancel_leaves_no_process(stack: Stack, cli: Callable[..., Command]) -> None:
    command = check(cli, "cancelled", *ENDLESS)
    name = stack.find("cancelled")
    ranks = stack.in_trial(name)
    began = time.monotonic()
    assert cli("cancel", name).code() == 0
    stack.no_rank_after(ranks, began + 10 - time.monotonic())
    assert command.code(15) == 3, command.said
    assert stack.get(name).state == State.STATE_CANCELLED
    assert "state cancelled" in command.err


def test_an_interrupt_cancels_if_asked_to(stack: Stack, cli: Callable[..., Command]) -> None:
    command = check(cli, "interrupted", *ENDLESS, "--cancel-on-interrupt")
    name = stack.find("interrupted")
    ranks = stack.in_trial(name)
    command.process.send_signal(signal.SIGINT)
    assert command.code(15) == 130, command.said
    stack.no_rank_after(ranks, 10)
    assert stack.end(name, 15).state == State.STATE_CANCELLED


@pytest.fixture(scope="module")
def local_cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Shared, so that set-up is paid once."""
    return tmp_path_factory.mktemp("local") / "cache"


@pytest.fixture
def local(tmp_path: Path, local_cache: Path) -> Iterator[Command]:
    """`hotfire check --local` of a job that does not end."""
    arguments = ("check", HEALTHY, "--local", "--cancel-on-interrupt", *ENDLESS)
    command = run_cli(tmp_path, *arguments, HOTFIRE_CACHE=str(local_cache))
    yield command
    for process in marked(command.mark):
        process.kill()
    command.process.wait()


def below(command: Command) -> list[psutil.Process]:
    """All that it started; ranks and guardian do not inherit the mark, orphans are not below it any more."""
    found = psutil.Process(command.process.pid).children(recursive=True)
    return [*found, *(p for p in command.alive() if p not in found)]


def test_a_local_check_interrupted_while_it_starts_leaves_no_process(local: Command) -> None:
    local.until("starting the worker", 60)
    # Set-up, compilers and rehearsals included.
    wait_for(
        lambda: any("hotfire_workers.train" in " ".join(p.cmdline()) for p in below(local)), 30, "set-up"
    )
    processes = below(local)
    local.process.send_signal(signal.SIGINT)
    assert local.code(30) == 130, local.said
    none_after(processes, 0)
    assert not local.alive()


@pytest.mark.parametrize("number", [signal.SIGINT, pytest.param(signal.SIGKILL, marks=pytest.mark.slow)])
def test_a_local_check_interrupted_in_a_trial_leaves_no_process(
    local: Command, local_cache: Path, number: signal.Signals
) -> None:
    local.until("trial candidate started", 150)
    # Supervisor, Valkey, service, worker and its pool child, guardian, warm process, agent, two ranks.
    wait_for(lambda: len(below(local)) >= 10, 30, "its ranks run")
    processes = below(local)
    local.process.send_signal(number)
    # Stopping is part of the command, unless it was killed: then the supervisor does it alone.
    assert local.code(30) == (130 if number == signal.SIGINT else -number), local.said
    none_after(processes, 0 if number == signal.SIGINT else 15)
    assert not local.alive()
    assert not list((local_cache / "local").glob("*"))
    assert not list((local_cache / "runs").glob("run-*"))
