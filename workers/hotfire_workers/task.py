"""One preflight out of the queue: claim it, run it, finish it. What goes wrong with *us* is told here alone."""

from __future__ import annotations

import logging
import time
import uuid
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TypeVar

from celery.exceptions import SoftTimeLimitExceeded
from google.rpc import status_pb2

from hotfire.v1 import preflight_pb2, report_pb2
from hotfire_service.store import ArtifactError, ArtifactStore, Claim, Ledger, StoreUnavailable
from hotfire_service.store.records import failure
from hotfire_workers.environment import WorkerFacts
from hotfire_workers.events import Stopped
from hotfire_workers.preflight import run_preflight
from hotfire_workers.runner.base import Runner, RunnerError
from hotfire_workers.settings import WorkerSettings
from hotfire_workers.slots import Slot
from hotfire_workers.supervise import LedgerSink, StopReason, Supervision
from hotfire_workers.telemetry import Telemetry

_log = logging.getLogger("hotfire.worker")
_PATIENCE_SHARE = 0.8
_RETRY_S = 0.5
_SUCCEEDED = "succeeded"
T = TypeVar("T")


@dataclass(frozen=True, kw_only=True, slots=True)
class Post:
    """What one task works with.

    Attributes:
        worker: This worker's name, as in its heartbeats.
        ledger: The ledger.
        artifacts: Where uploads lie.
        settings: What is allowed.
        slot: What may be used.
        runner: Runs in it.
        facts: Of the training environment.
        shutting_down: Says when the worker is being stopped.
        telemetry: Counts.
    """

    worker: str
    ledger: Ledger
    artifacts: ArtifactStore
    settings: WorkerSettings
    slot: Slot
    runner: Runner
    facts: WorkerFacts
    shutting_down: Callable[[], bool]
    telemetry: Telemetry = field(default_factory=Telemetry)


def execute(preflight_id: str, post: Post) -> str:
    """Runs a preflight, if there is one to run.

    Returns:
        What became of it, for the log: "nothing", "succeeded", "failed", "cancelled", "preempted", "lost".
    """
    claim = post.ledger.claim(preflight_id, post.worker, post.settings.pool)
    if claim is None:
        # Finished, cancelled, or held by somebody else: the message has done its duty.
        return "nothing"
    _log.info("%s: attempt %d begins in slot %d", preflight_id, claim.attempt, post.slot.index)
    began = time.monotonic()
    with Supervision(
        post.ledger, claim, shutting_down=post.shutting_down, poll_s=post.settings.poll_s
    ) as supervision:
        sink = LedgerSink(post.ledger, claim, supervision, count=post.telemetry.event)
        try:
            report = run_preflight(
                claim.preflight.spec,
                runner=post.runner,
                sink=sink,
                slot=post.slot,
                settings=post.settings,
                artifacts=post.artifacts,
                tenant=claim.tenant,
                facts=post.facts,
            )
            result = _finish(post, claim, sink, preflight_pb2.STATE_SUCCEEDED, report=report)
            if result == _SUCCEEDED:
                post.telemetry.report(report)
        except Stopped:
            result = _stopped(post, claim, sink, supervision.reason)
        except SoftTimeLimitExceeded:
            error = failure("the preflight took longer than this server allows", reason="TIME_LIMIT")
            result = _finish(post, claim, sink, preflight_pb2.STATE_FAILED, error=error)
        except Exception as error:  # noqa: BLE001 - whatever it was, it is our failure, and must be told
            result = _finish(
                post, claim, sink, preflight_pb2.STATE_FAILED, error=_failure(preflight_id, error)
            )
    seconds = time.monotonic() - began
    post.telemetry.ended(result, seconds, num_warm_fallbacks=len(getattr(post.runner, "cold_repeats", ())))
    _log.info("%s: attempt %d %s after %.1f s", preflight_id, claim.attempt, result, seconds)
    return result


def _stopped(post: Post, claim: Claim, sink: LedgerSink, reason: StopReason | None) -> str:
    match reason:
        case StopReason.CANCELLED:
            return _finish(post, claim, sink, preflight_pb2.STATE_CANCELLED)
        case StopReason.PREEMPTED:
            # Back into the queue; the attempt does not count, and the service sends the new message.
            sink.flush()
            released = _patiently(
                post, lambda: post.ledger.release(claim, requeue=True, preempted=True), claim
            )
            return "preempted" if released else "lost"
    return "lost"


def _finish(
    post: Post,
    claim: Claim,
    sink: LedgerSink,
    state: preflight_pb2.State,
    *,
    report: report_pb2.Report | None = None,
    error: status_pb2.Status | None = None,
) -> str:
    def finish() -> bool:
        if not sink.flush():
            raise StoreUnavailable("events wait")
        return post.ledger.finish(claim, state=state, report=report, error=error)

    done = _patiently(post, finish, claim)
    return preflight_pb2.State.Name(state).removeprefix("STATE_").lower() if done else "lost"


def _patiently(post: Post, act: Callable[[], T], claim: Claim) -> T | None:
    """Tries until Redis answers, or the lease is over."""
    end = time.monotonic() + _PATIENCE_SHARE * post.ledger.settings.lease_s
    while True:
        try:
            return act()
        except StoreUnavailable as error:
            if time.monotonic() > end:
                _log.error("%s: the end could not be written: %s", claim.preflight_id, error)
                return None
            time.sleep(_RETRY_S)


def _failure(preflight_id: str, error: Exception) -> status_pb2.Status:
    """Our failure on the wire: a reason and a sentence, and an id under which our log has the rest."""
    incident = uuid.uuid4().hex[:12]
    where = {"incident": incident}
    if isinstance(error, ArtifactError):
        _log.warning("%s: incident %s: %s", preflight_id, incident, error)
        return failure(
            f"an artifact of the spec cannot be used: {error}", reason="ARTIFACT_UNUSABLE", metadata=where
        )
    if isinstance(error, RunnerError):
        _log.error("%s: incident %s: %s", preflight_id, incident, error)
        return failure(
            "this worker could not run the trial's processes; its operator finds the reason in the worker's log "
            f"under {incident}",
            reason="RUNNER_FAILED",
            metadata=where,
        )
    # The type alone: an exception's text may hold anything, and so may a traceback's source lines.
    frames = _places(error)
    _log.error("%s: incident %s: %s at %s", preflight_id, incident, type(error).__name__, frames)
    return failure(
        f"this worker failed ({type(error).__name__}); its operator finds more in the worker's log under {incident}",
        reason="INTERNAL",
        metadata=where,
    )


def _places(error: BaseException) -> str:
    """Where it was raised, without any value."""
    places = []
    trace = error.__traceback__
    while trace is not None:
        code = trace.tb_frame.f_code
        places.append(f"{code.co_filename.rpartition('/')[2]}:{trace.tb_lineno} {code.co_name}")
        trace = trace.tb_next
    return " < ".join(reversed(places[-8:]))
