"""UploadArtifact: header, chunks, hash, checks, address."""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator
from typing import Any

from hotfire.v1 import preflight_service_pb2 as service_pb2
from hotfire_service import context as call
from hotfire_service import errors
from hotfire_service.admission import Violations, check_shape
from hotfire_service.servicer.deps import Deps
from hotfire_service.store.artifacts import Incoming
from hotfire_service.store.errors import ArtifactError, ArtifactTooLarge

_MAX_CHUNK_BYTES = 2**20
_SHA256 = re.compile(r"[0-9a-f]{64}")


class Uploads:
    """One upload at a time per call; content is visible only once it is whole and checked."""

    deps: Deps

    async def UploadArtifact(  # noqa: N802 - the name of the RPC
        self, requests: AsyncIterator[service_pb2.UploadArtifactRequest], _context: Any
    ) -> service_pb2.UploadArtifactResponse:
        """Takes the content, or answers at once where the sha256 is known."""
        header = await self._header(requests)
        tenant = call.tenant.get()
        if header.sha256 and await self._is_known(tenant, header):
            return service_pb2.UploadArtifactResponse(artifact=f"artifacts/{header.sha256}")
        limit = self.deps.settings.max_upload_bytes
        incoming = await asyncio.to_thread(self.deps.artifacts.incoming, max_bytes=limit)
        with incoming:
            try:
                await self._receive(requests, incoming)
                _check_promises(header, incoming)
                is_model = header.kind == service_pb2.KIND_MODEL
                await asyncio.to_thread(incoming.check, is_model=is_model)
            except ArtifactTooLarge as error:
                raise _too_large(str(error), error.limit_bytes) from None
            except ArtifactError as error:
                raise errors.InvalidRequest([("chunk", str(error))], reason="INVALID_ARTIFACT") from None
            await self.deps.ledger.pin_artifact(tenant, incoming.sha256, kind=int(header.kind))
            name = await asyncio.to_thread(incoming.commit, tenant=tenant)
        return service_pb2.UploadArtifactResponse(artifact=name)

    async def _header(
        self, requests: AsyncIterator[service_pb2.UploadArtifactRequest]
    ) -> service_pb2.ArtifactHeader:
        violations = Violations()
        first = await anext(aiter(requests), None)
        if first is None or first.WhichOneof("payload") != "header":
            raise errors.InvalidRequest([("header", "required: it is the first message of an upload")])
        check_shape(first, violations)
        header = first.header
        if header.kind not in (service_pb2.KIND_DATA, service_pb2.KIND_MODEL):
            violations.add("header.kind", "required: KIND_DATA or KIND_MODEL")
        if header.HasField("sha256") and not _SHA256.fullmatch(header.sha256):
            violations.add("header.sha256", "must be 64 hexadecimal digits, lower case")
        if header.size_bytes < 0:
            violations.add("header.size_bytes", f"{header.size_bytes} is negative")
        violations.raise_if_any()
        limit = self.deps.settings.max_upload_bytes
        if header.size_bytes > limit:
            raise _too_large(
                f"{header.size_bytes} bytes, this server takes at most {limit}; give a path that the workers "
                "see, use init: random, or num_layers",
                limit,
            )
        return header

    async def _is_known(self, tenant: str, header: service_pb2.ArtifactHeader) -> bool:
        """Known, checked as this kind, and its content is there; then its time starts anew."""
        kinds = await self.deps.ledger.artifact_kinds(tenant, header.sha256)
        if int(header.kind) not in kinds:
            return False
        if not await asyncio.to_thread(self.deps.artifacts.exists, header.sha256, tenant=tenant):
            return False
        await self.deps.ledger.pin_artifact(tenant, header.sha256, kind=int(header.kind))
        return True

    async def _receive(
        self, requests: AsyncIterator[service_pb2.UploadArtifactRequest], incoming: Incoming
    ) -> None:
        async for message in requests:
            if message.WhichOneof("payload") != "chunk":
                raise errors.InvalidRequest([("chunk", "after the header every message must be a chunk")])
            if len(message.chunk) > _MAX_CHUNK_BYTES:
                raise errors.InvalidRequest(
                    [("chunk", f"{len(message.chunk)} bytes, at most {_MAX_CHUNK_BYTES} in one message")]
                )
            await asyncio.to_thread(incoming.write, message.chunk)


def _check_promises(header: service_pb2.ArtifactHeader, incoming: Incoming) -> None:
    violations = Violations()
    if header.HasField("size_bytes") and header.size_bytes != incoming.size_bytes:
        violations.add("header.size_bytes", f"{header.size_bytes} were promised, {incoming.size_bytes} came")
    if header.HasField("sha256") and header.sha256 != incoming.sha256:
        violations.add("header.sha256", f"the content has sha256 {incoming.sha256}")
    if not incoming.size_bytes:
        violations.add("chunk", "the artifact is empty")
    violations.raise_if_any()


def _too_large(description: str, limit_bytes: int) -> errors.QuotaExceeded:
    return errors.QuotaExceeded(
        "upload", description, reason="ARTIFACT_TOO_LARGE", metadata={"limit_bytes": str(limit_bytes)}
    )
