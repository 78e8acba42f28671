"""The synchronous client.

client = Client("host:50051", token=..., tls=True)
handle = client.create_preflight("hotfire.yaml")
for event in handle.watch():
    ...
report = handle.result(timeout=600)
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator, Mapping
from types import TracebackType
from typing import Any, Self, TypeVar

import grpc
from google.protobuf.message import Message

from hotfire import _calls, _channel, _upload, config
from hotfire import spec as specs
from hotfire._patience import Patience
from hotfire._upload import Upload
from hotfire._watch import PATIENCE_S, STREAM_S, TERMINAL, WatchState, preflight_of
from hotfire.errors import HotfireError, from_rpc_error
from hotfire.report import Report
from hotfire.v1 import preflight_pb2, preflight_service_pb2_grpc, report_pb2, spec_pb2
from hotfire.v1 import preflight_service_pb2 as service_pb2

M = TypeVar("M", bound=Message)

SpecLike = str | os.PathLike[str] | Mapping[str, Any] | spec_pb2.PreflightSpec | specs.LoadedSpec


class Client:
    """A connection to a Hotfire service. Thread-safe; close it, or use it as a context manager."""

    def __init__(
        self,
        server: str | None = None,
        *,
        token: str | config.TokenProvider | None = None,
        tls: bool | None = None,
        ca_cert: str | os.PathLike[str] | None = None,
        client_cert: str | os.PathLike[str] | None = None,
        client_key: str | os.PathLike[str] | None = None,
        deadline_s: float = _channel.DEADLINE_S,
    ) -> None:
        """Resolves the settings; the connection itself is made at the first call.

        Args:
            server: "host:port"; default: HOTFIRE_SERVER, then the config file.
            token: Bearer token, or a function that gives one; refused over plaintext except on loopback.
            tls: Use TLS; default: if a certificate is given or the address says https://.
            ca_cert: PEM file of the authority that signed the server's certificate.
            client_cert: PEM file of this client's certificate, where the server wants one.
            client_key: PEM file of its private key, not encrypted.
            deadline_s: Deadline of each unary call. A server that has answered before and restarts is called again for
                30 s more.

        Raises:
            NoServerError: No server is named anywhere.
            SettingsError: A setting is wrong.
        """
        settings = config.resolve(
            server=server,
            token=token,
            tls=tls,
            ca_cert=ca_cert,
            client_cert=client_cert,
            client_key=client_key,
        )
        self._settings = _calls.require_server(settings)
        self._deadline_s = deadline_s
        self._patience = Patience()
        self._channel = _channel.connect(self._settings)
        self._stub: Any = preflight_service_pb2_grpc.PreflightServiceStub(self._channel)  # type: ignore[no-untyped-call]

    @property
    def server(self) -> str:
        """The server's address."""
        return self._settings.server or ""

    def close(self) -> None:
        """Closes the connection; running watches end."""
        self._channel.close()

    def __enter__(self) -> Self:
        """Returns the client."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Closes the connection."""
        self.close()

    # --- Preflights -----------------------------------------------------------------------------------------

    def create_preflight(
        self,
        spec: SpecLike,
        *,
        upload: Upload | str = Upload.AUTO,
        request_id: str | None = None,
        preflight_id: str | None = None,
        labels: Mapping[str, str] | None = None,
        validate_only: bool = False,
    ) -> PreflightHandle:
        """Submits a spec; returns at once.

        Args:
            spec: A file, a folder, a mapping, or a message.
            upload: Whether local files are uploaded: "auto" (if the server is elsewhere), "always", "never".
            request_id: Makes a repetition return the first preflight; default: a new one.
            preflight_id: The id to give it, [a-z0-9-]{1,63}.
            labels: For finding it again.
            validate_only: Only check the request; nothing is stored.

        Raises:
            SpecError: The spec is wrong (all of it is named).
            UploadError: Files cannot be sent.
            HotfireError: The server refused it; see `hotfire.errors`.
        """
        placed = self._place(specs.load(spec), Upload(upload))
        request = _calls.create_request(
            placed,
            request_id=request_id,
            preflight_id=preflight_id,
            labels=labels,
            validate_only=validate_only,
        )
        response = self._unary(
            "CreatePreflight", request, service_pb2.CreatePreflightResponse, 2 * self._deadline_s
        )
        return PreflightHandle(self, response.preflight)

    def check(
        self,
        spec: SpecLike,
        *,
        timeout: float | None = None,
        upload: Upload | str = Upload.AUTO,
        labels: Mapping[str, str] | None = None,
    ) -> Report:
        """Submits a spec and waits for the report.

        Raises:
            NoReportError: It ended without a report.
            DeadlineError: It did not end within `timeout` seconds; it goes on.
        """
        return self.create_preflight(spec, upload=upload, labels=labels).result(timeout=timeout)

    def preflight(self, name: str) -> PreflightHandle:
        """A handle on an existing preflight, by name or id; makes no call."""
        return PreflightHandle(self, preflight_pb2.Preflight(name=_calls.full_name(name)))

    def get_preflight(self, name: str) -> preflight_pb2.Preflight:
        """The record as it stands."""
        request = service_pb2.GetPreflightRequest(name=_calls.full_name(name))
        return self._unary("GetPreflight", request, service_pb2.GetPreflightResponse).preflight

    def list_preflights(
        self,
        *,
        state: str | None = None,
        verdict: str | None = None,
        labels: Mapping[str, str] | None = None,
        page_size: int | None = None,
    ) -> Iterator[preflight_pb2.Preflight]:
        """All preflights, newest first; pages are fetched as needed."""
        token = ""
        while True:
            request = _calls.list_request(
                page_size=page_size, page_token=token, state=state, verdict=verdict, labels=labels
            )
            response = self._unary("ListPreflights", request, service_pb2.ListPreflightsResponse)
            yield from response.preflights
            token = response.next_page_token
            if not token:
                return

    def cancel_preflight(self, name: str) -> preflight_pb2.Preflight:
        """Cancels it; one that has ended is returned unchanged."""
        request = service_pb2.CancelPreflightRequest(name=_calls.full_name(name))
        return self._unary("CancelPreflight", request, service_pb2.CancelPreflightResponse).preflight

    def delete_preflight(self, name: str) -> None:
        """Deletes the record.

        Raises:
            PreconditionError: It is running: cancel it first.
        """
        self._unary(
            "DeletePreflight",
            service_pb2.DeletePreflightRequest(name=_calls.full_name(name)),
            service_pb2.DeletePreflightResponse,
        )

    def wait_preflight(self, name: str, timeout: float | None = None) -> preflight_pb2.Preflight:
        """Waits until it has ended, or `timeout` seconds; returns it in whatever state.

        A server that restarts meanwhile is waited for.
        """
        name = _calls.full_name(name)
        end = time.monotonic() + timeout if timeout is not None else float("inf")
        # Only for its patience with a server that goes away and comes back.
        patience = WatchState(name)
        while True:
            remaining_s = end - time.monotonic()
            request = _calls.wait_request(name, remaining_s)
            try:
                preflight: preflight_pb2.Preflight = self._unary(
                    "WaitPreflight",
                    request,
                    service_pb2.WaitPreflightResponse,
                    _calls.WAIT_S + self._deadline_s,
                ).preflight
            except HotfireError as error:
                time.sleep(min(patience.delay_after(error), max(0.0, remaining_s)))
                continue
            patience = WatchState(name)
            if preflight.state in TERMINAL or time.monotonic() >= end:
                return preflight

    def watch_preflight(
        self, name: str, *, cursor: str = "", patience_s: float = PATIENCE_S
    ) -> Iterator[service_pb2.WatchPreflightResponse]:
        """Every event from the cursor on, each once, to the last one; reconnects by itself.

        Args:
            name: Name or id.
            cursor: Of the last event already seen; "": from the start.
            patience_s: How long a server may stay silent before it counts as lost.

        Raises:
            UnavailableError: The server is lost.
            NotFoundError: No such preflight.
        """
        state = WatchState(_calls.full_name(name), cursor=cursor, patience_s=patience_s)
        while True:
            failure: HotfireError | None = None
            call = self._stub.WatchPreflight(state.request(), timeout=STREAM_S, metadata=self._metadata())
            try:
                for event in call:
                    if state.accept(event):
                        yield event
                    if state.is_finished():
                        return
            except grpc.RpcError as error:
                failure = from_rpc_error(error, server=self.server)
            finally:
                call.cancel()
            if failure is None and state.may_end():
                return
            time.sleep(state.delay_after(failure))

    def get_row(self, name: str, row: int) -> report_pb2.Sample:
        """One row as tokens.

        Raises:
            NotFoundError: The row is not kept; the text says why.
        """
        request = service_pb2.GetRowRequest(name=_calls.full_name(name), row=row)
        return self._unary("GetRow", request, service_pb2.GetRowResponse).sample

    # --- Everything else ------------------------------------------------------------------------------------

    def check_config(self, request: service_pb2.CheckConfigRequest) -> service_pb2.CheckConfigResponse:
        """The static rules only, on the server."""
        return self._unary("CheckConfig", request, service_pb2.CheckConfigResponse)

    def list_rules(self) -> list[service_pb2.Rule]:
        """The catalogue of the server's version."""
        return list(
            self._unary("ListRules", service_pb2.ListRulesRequest(), service_pb2.ListRulesResponse).rules
        )

    def list_pools(self) -> list[service_pb2.Pool]:
        """The worker pools."""
        return list(
            self._unary("ListPools", service_pb2.ListPoolsRequest(), service_pb2.ListPoolsResponse).pools
        )

    def get_server_info(self) -> service_pb2.GetServerInfoResponse:
        """Version, limits, allowed roots, features."""
        return self._unary(
            "GetServerInfo", service_pb2.GetServerInfoRequest(), service_pb2.GetServerInfoResponse
        )

    def upload(self, payload: _upload.Payload) -> str:
        """Uploads one artifact; one that the server has is not sent again.

        Returns:
            Its name, "artifacts/{sha256}".
        """
        payload.hash()
        response: service_pb2.UploadArtifactResponse = self._patiently(
            lambda: self._stub.UploadArtifact(
                payload.requests(), timeout=payload.timeout_s, metadata=self._metadata()
            )
        )
        return response.artifact

    def _place(self, loaded: specs.LoadedSpec, mode: Upload) -> spec_pb2.PreflightSpec:
        loopback = _channel.is_loopback(self.server)
        limits = service_pb2.Limits()
        if _upload.needs_limits(loaded, mode, loopback=loopback):
            limits = self.get_server_info().limits
        placement = _upload.place(loaded, mode, loopback=loopback, limits=limits)
        for payload, put in placement.uploads:
            put(self.upload(payload))
        return placement.spec

    def _unary(
        self,
        method: str,
        request: Message,
        response: type[M],  # noqa: ARG002 - only for the type: the stub's methods are untyped
        timeout_s: float | None = None,
    ) -> M:
        answer: M = self._patiently(
            lambda: getattr(self._stub, method)(
                request, timeout=timeout_s or self._deadline_s, metadata=self._metadata()
            )
        )
        return answer

    def _patiently(self, call: Callable[[], Any]) -> Any:
        """Calls; a server that was there before and restarts now is called again."""
        attempts = self._patience.begin()
        while True:
            try:
                answer = call()
            except grpc.RpcError as error:
                failure = from_rpc_error(error, server=self.server)
            else:
                self._patience.answered()
                return answer
            time.sleep(attempts.delay_after(failure))

    def _metadata(self) -> tuple[tuple[str, str], ...]:
        return tuple(_channel.metadata(self._settings))


class PreflightHandle:
    """One preflight on a server.

    Attributes:
        preflight: The record as last seen.
    """

    def __init__(self, client: Client, preflight: preflight_pb2.Preflight) -> None:
        self._client = client
        self.preflight = preflight

    @property
    def name(self) -> str:
        """The resource name, as preflights/abc."""
        return self.preflight.name

    @property
    def id(self) -> str:
        """The id alone."""
        return self.name.removeprefix("preflights/")

    @property
    def state(self) -> str:
        """As last seen: "QUEUED", "RUNNING", "SUCCEEDED", ..."""
        return preflight_pb2.State.Name(self.preflight.state).removeprefix("STATE_")

    @property
    def done(self) -> bool:
        """Whether it had ended when last seen."""
        return self.preflight.state in TERMINAL

    def refresh(self) -> preflight_pb2.Preflight:
        """Asks for the record as it stands now."""
        self.preflight = self._client.get_preflight(self.name)
        return self.preflight

    def watch(
        self, *, cursor: str = "", patience_s: float = PATIENCE_S
    ) -> Iterator[service_pb2.WatchPreflightResponse]:
        """Every event, each once, to the last one; see `Client.watch_preflight`."""
        for event in self._client.watch_preflight(self.name, cursor=cursor, patience_s=patience_s):
            whole = preflight_of(event)
            if whole is not None:
                self.preflight = whole
            yield event

    def wait(self, timeout: float | None = None) -> preflight_pb2.Preflight:
        """Waits until it has ended, or `timeout` seconds."""
        if not self.done:
            self.preflight = self._client.wait_preflight(self.name, timeout)
        return self.preflight

    def result(self, timeout: float | None = None) -> Report:
        """Waits for the report.

        Raises:
            NoReportError: It ended without one.
            DeadlineError: It did not end within `timeout` seconds; it goes on.
        """
        self.wait(timeout)
        if not self.done:
            raise _calls.not_in_time(self.name, timeout or 0.0)
        return Report.of(self.preflight)

    def cancel(self) -> preflight_pb2.Preflight:
        """Cancels it."""
        self.preflight = self._client.cancel_preflight(self.name)
        return self.preflight

    def delete(self) -> None:
        """Deletes the record."""
        self._client.delete_preflight(self.name)

    def __repr__(self) -> str:
        """`<PreflightHandle preflights/abc RUNNING>`."""
        return f"<PreflightHandle {self.name} {self.state}>"
