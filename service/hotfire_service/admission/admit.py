"""CreatePreflight, from request to what the ledger stores."""

from __future__ import annotations

import asyncio
import hashlib
import json
from dataclasses import dataclass

from hotfire import wire
from hotfire.static import plan_of
from hotfire.v1 import preflight_pb2, spec_pb2
from hotfire.v1 import preflight_service_pb2 as service_pb2
from hotfire_service import context as call
from hotfire_service import errors
from hotfire_service.admission import identity, numbers, sources
from hotfire_service.admission.contents import contents_of
from hotfire_service.admission.queueing import queue_progress
from hotfire_service.admission.shape import Violations, check_shape
from hotfire_service.admission.start import StartCheck, check_start
from hotfire_service.settings import ServiceSettings
from hotfire_service.store.aio import AsyncLedger
from hotfire_service.store.artifacts import ArtifactStore
from hotfire_service.store.calls import NewPreflight
from hotfire_service.store.keys import key_id
from hotfire_service.store.records import new_id


@dataclass(frozen=True, slots=True)
class Admitted:
    """What became of a request."""

    earlier: str | None = None
    """Key id of the preflight that the same request made before."""
    new: NewPreflight | None = None


class Admission:
    """Decides about requests.

    Args:
        settings: What is allowed here.
        ledger: For idempotency, artifacts, pools.
        artifacts: Where inline rows go.
    """

    def __init__(self, settings: ServiceSettings, ledger: AsyncLedger, artifacts: ArtifactStore) -> None:
        self._settings = settings
        self._ledger = ledger
        self._artifacts = artifacts

    async def admit(self, request: service_pb2.CreatePreflightRequest) -> Admitted:
        """The three answers of the contract.

        Raises:
            InvalidRequest: The request is wrong; every violation at once, nothing stored.
            QuotaExceeded: The inline rows are too large.
        """
        violations = Violations()
        check_shape(request, violations)
        identity.check_identity(request, violations)
        tenant = call.tenant.get()
        body_hash = identity.body_hash(request)
        if not violations.found and not request.validate_only:
            # A repeated request gets its first answer, whatever the limits and roots are by now.
            wanted = key_id(tenant, request.preflight_id) if request.HasField("preflight_id") else None
            if earlier := await self._ledger.earlier(tenant, request.request_id, wanted, body_hash):
                return Admitted(earlier=earlier)

        artifacts = await self._check_spec(request, violations)
        name, pool, progress = await self._pool(request.spec.plan, violations)
        violations.raise_if_any()

        spec = spec_pb2.PreflightSpec()
        spec.CopyFrom(request.spec)
        start = await asyncio.to_thread(check_start, spec)
        if spec.data.rows:
            artifacts.append(await self._keep_rows(spec.data, tenant, stored=not request.validate_only))
        new = NewPreflight(
            preflight_id=request.preflight_id if request.HasField("preflight_id") else new_id(),
            tenant=tenant,
            spec=spec,
            pool=name,
            queue_timeout_s=plan_of(spec.plan).queue_timeout_s,
            body_hash=body_hash,
            request_id=request.request_id,
            labels=dict(request.labels),
            artifacts=artifacts,
            progress=progress,
            max_active=self._settings.max_active,
            contents=await asyncio.to_thread(contents_of, spec, pool),
        )
        await self._answer_now(new, start)
        return Admitted(new=new)

    async def _check_spec(
        self, request: service_pb2.CreatePreflightRequest, violations: Violations
    ) -> list[str]:
        """Everything in the spec that is a matter of form or policy. Returns the artifacts it names."""
        spec, found = request.spec, []
        if not request.HasField("spec"):
            violations.add("spec", "required")
            return []
        if model := sources.check_model(spec.model, self._settings, violations):
            found.append((model, service_pb2.KIND_MODEL, "spec.model.artifact"))
        if data := sources.check_data(spec.data, self._settings, violations):
            found.append((data, service_pb2.KIND_DATA, "spec.data.artifact"))
        sources.check_deepspeed(spec.deepspeed, violations)
        numbers.check_model_numbers(spec.model, violations)
        numbers.check_plan(spec.plan, violations, settings=self._settings, store=self._ledger.settings)
        numbers.check_cluster(spec.cluster, violations)
        for sha256, kind, field in found:
            await self._check_artifact(sha256, kind, field, violations)
        return [sha256 for sha256, _, _ in found]

    async def _check_artifact(self, sha256: str, kind: int, field: str, violations: Violations) -> None:
        tenant = call.tenant.get()
        kinds = await self._ledger.artifact_kinds(tenant, sha256)
        there = bool(kinds) and await asyncio.to_thread(self._artifacts.exists, sha256, tenant=tenant)
        if not there:
            violations.add(
                field,
                f"artifacts/{sha256} is not known here (never uploaded, or its time is over): upload it",
            )
        elif kind not in kinds:
            name = service_pb2.Kind.Name(service_pb2.Kind.ValueType(kind))
            violations.add(field, f"artifacts/{sha256} was not uploaded as {name}")

    async def _pool(
        self, plan: spec_pb2.PlanSpec, violations: Violations
    ) -> tuple[str, service_pb2.Pool | None, preflight_pb2.Progress]:
        """The pool's name, the pool if it has a worker, and what to say about the wait."""
        name = plan.pool if plan.HasField("pool") else self._settings.default_pool
        pools = {pool.name: pool for pool in await self._ledger.pools()}
        known = sorted({*pools, *self._settings.pools, self._settings.default_pool})
        if name not in known:
            violations.add(
                "spec.plan.pool", f"{name[:100]!r} is not a pool of this server; known: {', '.join(known)}"
            )
        pool = pools.get(name)
        num_queued = pool.num_queued if pool is not None else 0
        return name, pool, queue_progress(name, pool, num_others=num_queued)

    async def _keep_rows(self, data: spec_pb2.DataSpec, tenant: str, *, stored: bool) -> str:
        """Inline rows become an artifact, as JSON Lines. Returns its sha256.

        Args:
            data: Changed in place: the rows are replaced by the artifact.
            tenant: Whose it is.
            stored: False: only compute the address.
        """
        limit = self._settings.max_upload_bytes
        content = await asyncio.to_thread(_json_lines, data)
        if len(content) > limit:
            raise errors.QuotaExceeded(
                "spec.data.rows",
                f"{len(content)} bytes as JSON Lines, at most {limit} are taken",
                reason="ARTIFACT_TOO_LARGE",
                metadata={"limit_bytes": str(limit)},
            )
        sha256 = hashlib.sha256(content).hexdigest()
        if stored:
            await self._ledger.pin_artifact(tenant, sha256, kind=service_pb2.KIND_DATA)
            await asyncio.to_thread(self._artifacts.put, content, max_bytes=limit, tenant=tenant)
        del data.rows[:]
        data.artifact = f"artifacts/{sha256}"
        return sha256

    async def _answer_now(self, new: NewPreflight, start: StartCheck) -> None:
        """Finishes it at once where the answer is known already."""
        if start.report is not None:
            new.report = start.report
        elif new.spec.plan.allow_cached and new.fingerprint:
            cached = await self._ledger.cached(new.tenant, new.fingerprint)
            if cached is not None:
                new.report = cached.report
                new.cached_from = cached.name


def _json_lines(data: spec_pb2.DataSpec) -> bytes:
    """Inline rows as a JSON Lines file: row n is line n."""
    lines = [json.dumps(wire.struct_to_dict(row), ensure_ascii=False) + "\n" for row in data.rows]
    return "".join(lines).encode()
