"""Create, Get, List, Cancel, Delete, GetRow."""

from __future__ import annotations

import asyncio
from typing import Any

import structlog

from hotfire.v1 import preflight_pb2
from hotfire.v1 import preflight_service_pb2 as service_pb2
from hotfire_service import context as call
from hotfire_service import errors
from hotfire_service.admission import Violations, check_shape, preflight_key
from hotfire_service.admission.identity import check_labels
from hotfire_service.servicer.deps import Deps, send_message
from hotfire_service.servicer.present import present
from hotfire_service.store import records
from hotfire_service.store.calls import NewPreflight
from hotfire_service.store.errors import ConflictError, QuotaError, RunningError, UnknownArtifactError
from hotfire_service.store.listing import PageTokenError, Query

_log = structlog.get_logger("hotfire.service")

_DEFAULT_PAGE = 50
_MAX_PAGE = 500


class Preflights:
    """The life of a preflight, but for waiting."""

    deps: Deps

    async def CreatePreflight(  # noqa: N802 - the name of the RPC
        self, request: service_pb2.CreatePreflightRequest, _context: Any
    ) -> service_pb2.CreatePreflightResponse:
        """Admits and queues; or answers at once; or returns what the same request made before."""
        admitted = await self.deps.admission.admit(request)
        key = admitted.earlier
        if admitted.new is not None:
            if request.validate_only:
                return service_pb2.CreatePreflightResponse(preflight=_unstored(admitted.new))
            key = await self._store(admitted.new)
        assert key is not None
        return service_pb2.CreatePreflightResponse(preflight=await present(self.deps, key))

    async def _store(self, new: NewPreflight) -> str:
        deps = self.deps
        try:
            key, is_new = await deps.ledger.create(new)
        except ConflictError as error:
            value = new.request_id if error.field == "request_id" else new.preflight_id
            raise errors.AlreadyExists(error.field, value) from None
        except QuotaError as error:
            raise errors.QuotaExceeded(
                f"tenant:{new.tenant}",
                f"{error}; wait for some to finish, or cancel them",
                reason="TOO_MANY_ACTIVE",
                metadata={"num_active": str(error.num_active), "limit": str(error.limit)},
                retry_after_s=30,
            ) from None
        except UnknownArtifactError as error:
            # It went between the check and here.
            raise errors.InvalidRequest([("spec", f"{error}: upload it again")]) from None
        if is_new and new.report is None:
            try:
                await send_message(deps.celery, key, new.pool)
                await deps.ledger.mark_sent(key)
            except Exception as error:  # noqa: BLE001 - it is stored; the reaper sends what is not marked
                _log.warning("send_failed", preflight=key, error=type(error).__name__)
        _log.info("created" if is_new else "repeated", preflight=key, pool=new.pool)
        return key

    async def GetPreflight(  # noqa: N802
        self, request: service_pb2.GetPreflightRequest, _context: Any
    ) -> service_pb2.GetPreflightResponse:
        """The whole preflight, with its report."""
        _refuse_unknown(request)
        preflight = await present(self.deps, preflight_key(request.name))
        return service_pb2.GetPreflightResponse(preflight=preflight)

    async def ListPreflights(  # noqa: N802
        self, request: service_pb2.ListPreflightsRequest, _context: Any
    ) -> service_pb2.ListPreflightsResponse:
        """Newest first; a page may end early when it would grow over a message."""
        violations = Violations()
        check_shape(request, violations)
        check_labels(request.labels, violations)
        if request.page_size < 0:
            violations.add("page_size", f"{request.page_size} is negative")
        violations.raise_if_any()
        query = Query(
            tenant=call.tenant.get(),
            page_size=min(request.page_size or _DEFAULT_PAGE, _MAX_PAGE),
            page_token=request.page_token,
            state=int(request.state),
            verdict=int(request.verdict),
            labels=dict(request.labels),
        )
        try:
            page = await self.deps.ledger.list_page(query)
        except PageTokenError as error:
            raise errors.InvalidRequest([("page_token", str(error))]) from None
        response = service_pb2.ListPreflightsResponse(preflights=page.preflights)
        if page.next_page_token:
            response.next_page_token = page.next_page_token
        return response

    async def CancelPreflight(  # noqa: N802
        self, request: service_pb2.CancelPreflightRequest, _context: Any
    ) -> service_pb2.CancelPreflightResponse:
        """Queued: at once. Running: flagged for the worker; a revoke follows if it does not stop."""
        _refuse_unknown(request)
        key = preflight_key(request.name)
        before = await self.deps.ledger.cancel(key)
        if before == preflight_pb2.STATE_RUNNING:
            task = asyncio.create_task(self._revoke_later(key))
            self.deps.background.add(task)
            task.add_done_callback(self.deps.background.discard)
        return service_pb2.CancelPreflightResponse(preflight=await present(self.deps, key))

    async def _revoke_later(self, key: str) -> None:
        """The second way to stop a task: Celery terminates the pool process.

        Not at once: a terminated process cannot write its last event, and then the reaper has to.
        """
        await asyncio.sleep(self.deps.settings.revoke_after_s)
        try:
            if await self.deps.ledger.state(key) == preflight_pb2.STATE_RUNNING:
                _log.warning("revoke", preflight=key)
                await asyncio.to_thread(
                    self.deps.celery.control.revoke, key, terminate=True, signal="SIGTERM"
                )
        except Exception as error:  # noqa: BLE001 - the flag and the lease still end it
            _log.warning("revoke_failed", preflight=key, error=type(error).__name__)

    async def DeletePreflight(  # noqa: N802
        self, request: service_pb2.DeletePreflightRequest, _context: Any
    ) -> service_pb2.DeletePreflightResponse:
        """Removes the record, its events and rows, and every artifact that nothing else names."""
        _refuse_unknown(request)
        key = preflight_key(request.name)
        try:
            await self.deps.ledger.delete(key)
        except RunningError:
            raise errors.FailedPrecondition(
                request.name, "it is running; cancel it first", reason="PREFLIGHT_RUNNING"
            ) from None
        await self.deps.reaper.sweep_artifacts()
        return service_pb2.DeletePreflightResponse()

    async def GetRow(  # noqa: N802
        self, request: service_pb2.GetRowRequest, _context: Any
    ) -> service_pb2.GetRowResponse:
        """One row as tokens."""
        violations = Violations()
        check_shape(request, violations)
        if not request.HasField("row") or request.row < 1:
            violations.add("row", "required: the number of a row, from 1")
        violations.raise_if_any()
        key = preflight_key(request.name)
        await self.deps.ledger.state(key)  # there is such a preflight
        sample = await self.deps.ledger.get_row(key, request.row)
        if sample is None:
            preflight = await self.deps.ledger.get(key)
            raise errors.NotFound(
                "hotfire.v1.Sample",
                f"{request.name}/rows/{request.row}",
                _why_no_row(preflight, request.row, await self.deps.ledger.kept_rows(key)),
            )
        return service_pb2.GetRowResponse(sample=sample)


def _refuse_unknown(request: Any) -> None:
    violations = Violations()
    check_shape(request, violations)
    violations.raise_if_any()


def _why_no_row(preflight: preflight_pb2.Preflight, row: int, kept: list[int]) -> str:
    for rejected in preflight.report.data.rejected:
        if rejected.row == row:
            return f"the row was rejected: {rejected.reason}"
    if kept:
        shown = ", ".join(map(str, kept[:50])) + (", ..." if len(kept) > 50 else "")
        return f"only the rows that ran or were named are kept: {shown}"
    if preflight.state not in records.TERMINAL:
        return "the preflight has not looked at the rows yet"
    return "no row of this preflight was run or named"


def _unstored(new: NewPreflight) -> preflight_pb2.Preflight:
    """What `validate_only` answers: as it would be, without times."""
    preflight = preflight_pb2.Preflight(
        name=f"preflights/{new.preflight_id}",
        state=preflight_pb2.STATE_QUEUED if new.report is None else preflight_pb2.STATE_SUCCEEDED,
        spec=new.spec,
        labels=new.labels,
    )
    if new.report is not None:
        preflight.report.CopyFrom(new.report)
    elif new.progress is not None:
        preflight.progress.CopyFrom(new.progress)
    if new.cached_from:
        preflight.cached_from = new.cached_from
    return preflight
