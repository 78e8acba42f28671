"""A full verdict, from submit to report: warm against the same trials by cold torchrun, with the parts that it has."""

from __future__ import annotations

import statistics
import time
from dataclasses import dataclass, field

from benchmarks.bed import EXAMPLES, BenchError
from benchmarks.figures import heading, load, spread, table
from hotfire import Client
from hotfire import spec as specs
from hotfire.local.stack import LocalStack
from hotfire.v1 import preflight_pb2, report_pb2
from hotfire.v1 import preflight_service_pb2 as service_pb2

EXAMPLE, STAGES = "glm4-loss-zero", (0, 1, 2, 3)
_AIM, _AIM_S = 0.2, 10.0
_REPEATS, _QUICK_REPEATS = 5, 1


@dataclass(kw_only=True)
class _Verdict:
    """One preflight's seconds. Events carry the store's time, which is this machine's."""

    whole: float
    """From submit until the client holds the report."""
    trials: dict[str, float] = field(default_factory=dict)
    """Each trial's, from its start to its end, as the worker told them."""
    before: float = 0.0
    """From submit to the start of the first trial: service, queue, model, sample."""
    after: float = 0.0
    """From the end of the last trial until the client has the report."""

    @property
    def in_trials(self) -> float:
        return sum(self.trials.values())

    @property
    def between(self) -> float:
        """Judging, planning and the preparation of patched jobs, between trials."""
        return self.whole - self.in_trials - self.before - self.after


def main(*, quick: bool) -> None:
    heading("verdict: seconds of a full verdict, warm against the same trials by cold torchrun")
    repeats = _QUICK_REPEATS if quick else _REPEATS
    warm = _verdicts("warm", repeats)
    cold = _verdicts("cold", 1)[0]
    names = list(warm[0].trials)
    if any(list(each.trials) != names for each in (*warm, cold)):
        raise BenchError(f"not the same trials: {names} against {list(cold.trials)}")
    middle = statistics.median(each.whole for each in warm)
    print(
        f"   {EXAMPLE}, plan.stages {list(STAGES)}, {len(names)} trials of 2 ranks; {repeats} warm verdicts after one "
        "that is not counted,\n   one cold; the worker was up before the submit"
    )
    table(
        ("part", "warm s [min, max]", "cold s", "warm/cold"),
        [
            _row("SUBMIT TO REPORT", [v.whole for v in warm], cold.whole),
            _row("  until the first trial starts", [v.before for v in warm], cold.before),
            *(_row(f"  trial {n}", [v.trials[n] for v in warm], cold.trials[n]) for n in names),
            _row("  between trials", [v.between for v in warm], cold.between),
            _row("  after the last", [v.after for v in warm], cold.after),
            _row("all trials", [v.in_trials for v in warm], cold.in_trials),
        ],
    )
    print(
        f"   the aims: under {_AIM_S:g} s (median: {middle:.1f}), and {_AIM:g} or less of the same trials cold "
        f"({middle / cold.in_trials:.2f})"
    )
    print(f"   {load()} at the end")


def _verdicts(launcher: str, repeats: int) -> list[_Verdict]:
    folder = EXAMPLES / EXAMPLE
    with (
        LocalStack(roots=[folder], env={"HOTFIRE_WORKER_LAUNCHER": launcher}) as stack,
        Client(stack.address, token=stack.token, tls=False) as client,
    ):
        if launcher == "warm":
            # A worker that has just started may still be importing.
            _measure(client, launcher)
        return [_measure(client, launcher) for _ in range(repeats)]


def _measure(client: Client, launcher: str) -> _Verdict:
    spec = specs.load(EXAMPLES / EXAMPLE, overrides=[f"plan.stages={list(STAGES)}"])
    submit = time.time()
    handle = client.create_preflight(spec)
    began: dict[str, float] = {}
    ended: dict[str, float] = {}
    for event in handle.watch():
        match event.WhichOneof("event"):
            case "trial_started":
                began[event.trial_started.trial.name] = _moment(event)
            case "trial_finished":
                ended[event.trial_finished.trial.name] = _moment(event)
    preflight = handle.preflight
    now = time.time()
    _check(preflight, launcher)
    first, last = min(began.values()), max(ended.values())
    return _Verdict(
        whole=now - submit,
        trials={name: ended[name] - began[name] for name in began},
        before=first - submit,
        after=now - last,
    )


def _check(preflight: preflight_pb2.Preflight, launcher: str) -> None:
    """The right answer, or the seconds are worth nothing."""
    zero = preflight.report.zero
    if zero.guilty != report_pb2.GUILTY_NOT_ZERO or not preflight.report.recommendation.patch:
        raise BenchError(
            f"the {launcher} verdict was: {preflight.report.headline or preflight.error.message}"
        )


def _row(what: str, warm: list[float], cold: float) -> tuple[str, str, str, str]:
    ratio = statistics.median(warm) / cold if cold > 0 else float("nan")
    return what, spread(warm), f"{cold:.2f}", f"{ratio:.2f}"


def _moment(event: service_pb2.WatchPreflightResponse) -> float:
    return event.time.ToNanoseconds() / 1e9
