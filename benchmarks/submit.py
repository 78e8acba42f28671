"""From submit to the first step, beyond the trial itself: client, service, queue, worker, preparation."""

from __future__ import annotations

import time
from dataclasses import dataclass

from benchmarks.bed import EXAMPLES, BenchError
from benchmarks.figures import heading, load, spread, table
from hotfire import Client
from hotfire.local.stack import LocalStack
from hotfire.v1 import preflight_pb2
from hotfire.v1 import preflight_service_pb2 as service_pb2

EXAMPLE = "glm4-healthy"
_REPEATS, _QUICK_REPEATS = 8, 3


@dataclass(kw_only=True)
class _Times:
    """Moments of one preflight, seconds of the one machine's clock. Events carry the store's time."""

    submit: float
    created: float
    running: float = 0.0
    trial: float = 0.0
    step: float = 0.0
    arrived: float = 0.0

    @property
    def own(self) -> float:
        """The candidate trial's, from its request to its first step."""
        return self.step - self.trial

    @property
    def beyond(self) -> float:
        """Everything else until the client holds the first step."""
        return self.arrived - self.submit - self.own


def main(*, quick: bool) -> None:
    heading("submit: from create_preflight to the first step event, beyond the trial itself")
    folder = EXAMPLES / EXAMPLE
    repeats = _QUICK_REPEATS if quick else _REPEATS
    began = time.monotonic()
    with LocalStack(roots=[folder]) as stack:
        ready_s = time.monotonic() - began
        with Client(stack.address, token=stack.token, tls=False) as client:
            # The warm process of a worker that has just started may still be importing.
            first = _measure(client)
            times = [_measure(client) for _ in range(repeats)]
    print(
        f"   {EXAMPLE}, embedded Valkey, service and worker (ready after {ready_s:.1f} s); {repeats} preflights, "
        f"one after the other, after one that is not counted ({first.beyond:.2f} s)"
    )
    table(
        ("part", "s [min, max]"),
        [
            ("BEYOND THE TRIAL, in all", spread([t.beyond for t in times], 3)),
            ("  submit until the worker runs it", spread([t.running - t.submit for t in times], 3)),
            ("  reading the model, tokenising", spread([t.trial - t.running for t in times], 3)),
            ("  first step until the client has it", spread([t.arrived - t.step for t in times], 3)),
            ("the trial's own, request to first step", spread([t.own for t in times], 3)),
            ("submit to first step, in all", spread([t.arrived - t.submit for t in times], 3)),
            ("create_preflight alone", spread([t.created - t.submit for t in times], 3)),
        ],
    )
    print(f"   {load()} at the end")


def _measure(client: Client) -> _Times:
    submit = time.time()
    handle = client.create_preflight(EXAMPLES / EXAMPLE)
    times = _Times(submit=submit, created=time.time())
    for event in handle.watch():
        now = time.time()
        match event.WhichOneof("event"):
            case "state" if event.state.state == preflight_pb2.STATE_RUNNING and not times.running:
                times.running = _moment(event)
            case "trial_started" if event.trial_started.trial.name == "candidate":
                times.trial = _moment(event)
            case "step" if event.step.trial == "candidate" and not times.step:
                times.step, times.arrived = _moment(event), now
    if not (times.running and times.trial and times.step):
        raise BenchError(f"{EXAMPLE} took no step: {handle.state}")
    return times


def _moment(event: service_pb2.WatchPreflightResponse) -> float:
    return event.time.ToNanoseconds() / 1e9
