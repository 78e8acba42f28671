"""The worker's side of the ledger: claims, events, results, heartbeats. Synchronous."""

from __future__ import annotations

import json
import uuid
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Self

from google.rpc import status_pb2

from hotfire.v1 import preflight_pb2, report_pb2
from hotfire.v1 import preflight_service_pb2 as service_pb2
from hotfire_service.store import calls, pools, records, scripts
from hotfire_service.store.connection import connect, translated
from hotfire_service.store.keys import Keys, split_key_id
from hotfire_service.store.settings import StoreSettings


@dataclass(frozen=True, kw_only=True, slots=True)
class Claim:
    """The right of one worker to run one preflight, until its lease runs out."""

    preflight_id: str
    """The ledger's key id: what the Celery message carried."""
    preflight: preflight_pb2.Preflight = field(repr=False)
    attempt: int
    token: str = field(repr=False)
    """Every write is refused once somebody else holds a newer claim."""

    @property
    def tenant(self) -> str:
        """Whose artifacts the spec names."""
        return split_key_id(self.preflight_id)[0]


class Ledger:
    """What a worker reads and writes. Safe to use from several threads; make it after forking.

    Every method raises `StoreUnavailable` when Redis cannot be reached.
    """

    def __init__(self, client: Any, *, settings: StoreSettings) -> None:
        self.settings = settings
        self.keys = Keys(settings.key_prefix)
        self._redis = client
        self._scripts = scripts.register(client)

    @classmethod
    def connect(cls, settings: StoreSettings | None = None) -> Self:
        """A ledger on `settings.redis_url` (default: from the environment)."""
        settings = settings or StoreSettings()
        return cls(connect(settings), settings=settings)

    def close(self) -> None:
        """Closes the connections."""
        self._redis.close()

    def ping(self) -> None:
        """Returns if Redis answers."""
        with translated():
            self._redis.ping()

    def _run(self, name: str, arguments: list[scripts.Argument]) -> Any:
        with translated():
            return self._scripts[name](args=arguments)

    # --- One preflight ------------------------------------------------------------------------------------

    def get(self, preflight_id: str) -> preflight_pb2.Preflight | None:
        """The preflight as it is now, or None."""
        with translated():
            fields = self._redis.hgetall(self.keys.record(preflight_id))
        return records.to_preflight(preflight_id, fields) if fields else None

    def claim(self, preflight_id: str, worker: str, pool: str | None = None) -> Claim | None:
        """Takes a queued preflight (or one whose worker was lost) in one atomic step.

        Args:
            preflight_id: What the Celery message carried.
            worker: This worker's name, as in its heartbeats.
            pool: The pool the worker serves; a preflight of another pool is refused.

        Returns:
            None where there is nothing to run: gone, finished, cancelled, held by another worker, or lost too
            often (then it is now FAILED with reason WORKER_LOST). The message is simply acknowledged.
        """
        if pool is not None:
            with translated():
                wanted = self._redis.hget(self.keys.record(preflight_id), "pool")
            if wanted is not None and wanted.decode() != pool:
                return None
        token = uuid.uuid4().hex
        answer = self._run("claim", calls.claim(preflight_id, worker, token, self.keys, self.settings))
        if answer[0] != b"claimed":
            return None
        preflight = self.get(preflight_id)
        if preflight is None:
            return None
        return Claim(preflight_id=preflight_id, preflight=preflight, attempt=int(answer[1]), token=token)

    def renew(self, claim: Claim) -> bool:
        """Extends the lease by `lease_s`; call it every `lease_s / 4`.

        Returns:
            False: the claim is lost or the record is gone. Stop at once.
        """
        lease = calls.lease_ms(self.settings)
        return bool(self._run("renew", [self.keys.prefix, claim.preflight_id, claim.token, lease]))

    def cancel_requested(self, preflight_id: str) -> bool:
        """Somebody wants it cancelled, or has deleted it."""
        with translated():
            state, cancel = self._redis.hmget(self.keys.record(preflight_id), "state", "cancel")
        return bool(cancel) or state is None or int(state) != preflight_pb2.STATE_RUNNING

    def append(self, claim: Claim, event: service_pb2.WatchPreflightResponse) -> bool:
        """Appends an event; cursor, time and attempt are set by the ledger.

        A progress event also becomes the record's progress.

        Returns:
            False: the claim is lost, nothing was written.
        """
        return bool(self._run("append", calls.append(claim.preflight_id, claim.token, event, self.keys)))

    def finish(
        self,
        claim: Claim,
        *,
        state: preflight_pb2.State,
        report: report_pb2.Report | None = None,
        error: status_pb2.Status | None = None,
    ) -> bool:
        """Ends the preflight, in one step with its last event, and gives the claim back.

        Args:
            claim: The claim.
            state: SUCCEEDED, FAILED or CANCELLED.
            report: For SUCCEEDED; under `max_report_bytes`.
            error: For FAILED (see `records.failure`).

        Returns:
            False: the claim is lost, nothing was written.
        """
        arguments = calls.finish(
            claim.preflight_id, claim.token, state, report, error, self.keys, self.settings
        )
        return bool(self._run("finish", arguments))

    def release(self, claim: Claim, *, requeue: bool, preempted: bool = False) -> bool:
        """Gives the claim back without a result.

        Args:
            claim: The claim.
            requeue: Queue it again (the service sends the new message). False: treat this worker as lost.
            preempted: The operator stopped the worker: this attempt does not count.

        Returns:
            False: the claim was lost before.
        """
        arguments: list[scripts.Argument] = [
            self.keys.prefix,
            claim.preflight_id,
            claim.token,
            int(requeue),
            int(preempted),
            records.state_event(preflight_pb2.STATE_QUEUED),
            records.state_event(preflight_pb2.STATE_CANCELLED),
        ]
        return bool(self._run("release", arguments))

    def put_rows(self, claim: Claim, samples: Iterable[report_pb2.Sample]) -> bool:
        """Keeps rows as tokens, for `GetRow`."""
        arguments: list[scripts.Argument] = [self.keys.prefix, claim.preflight_id, claim.token]
        for sample in samples:
            arguments += [sample.row, sample.SerializeToString()]
        return bool(self._run("rows", arguments)) if len(arguments) > 3 else True

    def get_row(self, preflight_id: str, row: int) -> report_pb2.Sample | None:
        """One row that was kept."""
        with translated():
            data = self._redis.hget(self.keys.rows(preflight_id), row)
        return None if data is None else report_pb2.Sample.FromString(data)

    # --- Workers ------------------------------------------------------------------------------------------

    def worker_heartbeat(self, record: Mapping[str, Any]) -> None:
        """Says that this worker is alive; call it every `worker_ttl_s / 4`.

        Args:
            record: {"worker", "pool", "device", "num_devices_per_slot", "slots", "busy", "versions", "pid",
                "host"}.
        """
        ttl = calls.milliseconds(self.settings.worker_ttl_s)
        arguments: list[scripts.Argument] = [
            self.keys.prefix,
            "",
            str(record["worker"]),
            str(record["pool"]),
            json.dumps(dict(record)),
            ttl,
        ]
        self._run("heartbeat", arguments)

    def worker_gone(self, worker: str) -> None:
        """Takes back the heartbeat of a worker that stops."""
        with translated():
            self._redis.delete(self.keys.worker(worker))
            self._redis.zrem(self.keys.workers, worker)

    def pools(self) -> list[service_pb2.Pool]:
        """The pools with what their live workers say."""
        with translated():
            names = self._redis.zrange(self.keys.pools, 0, -1)
            workers = self._redis.zrange(self.keys.workers, 0, -1)
            beats = self._redis.mget([self.keys.worker(w.decode()) for w in workers]) if workers else []
            known = [name.decode() for name in names]
            counts = {
                name: (
                    self._redis.scard(self.keys.pool_queued(name)),
                    self._redis.scard(self.keys.pool_running(name)),
                )
                for name in known
            }
        return pools.summarise(known, [b for b in beats if b], counts)
