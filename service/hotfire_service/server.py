"""Building, starting and stopping the server."""

from __future__ import annotations

import asyncio
from typing import Any, Self

import celery.app.base
import grpc
import grpc.aio
import structlog
from grpc_health.v1 import health_pb2_grpc

from hotfire.v1 import preflight_service_pb2_grpc
from hotfire_service import reflection
from hotfire_service.admission import Admission
from hotfire_service.health import HealthWatch
from hotfire_service.hub import ChangeHub
from hotfire_service.interceptors import HEALTH, REFLECTION, AuthInterceptor, ErrorInterceptor, LogInterceptor
from hotfire_service.servicer import PreflightServicer
from hotfire_service.servicer.deps import Deps, send_message
from hotfire_service.settings import ServiceSettings
from hotfire_service.store.aio import AsyncLedger
from hotfire_service.store.artifacts import ArtifactStore
from hotfire_service.store.endpoint import AddressError, Endpoint, listen
from hotfire_service.store.queue import celery_config
from hotfire_service.store.reaper import Reaper
from hotfire_service.store.settings import StoreSettings
from hotfire_service.telemetry import Telemetry
from hotfire_service.tls import ServerCertificate
from hotfire_service.tokens import TokenTable, plain_entries

_log = structlog.get_logger("hotfire.service")

#: The generated and the library code have no annotations.
_celery_code: Any = celery.app.base
_grpc_code: Any = preflight_service_pb2_grpc
_health_code: Any = health_pb2_grpc


class BindError(Exception):
    """The address cannot be listened on."""


class Server:
    """The whole service in one process. `async with Server(settings) as server: ... server.address`.

    Redis need not be there at the start: until it is, calls end with UNAVAILABLE.
    """

    def __init__(self, settings: ServiceSettings, store: StoreSettings | None = None) -> None:
        self.settings = settings
        self.store = store or settings.store()
        self.port = 0
        self.telemetry = Telemetry()
        self._reloads: dict[str, dict[str, int]] = {}
        self._endpoint: Endpoint | None = None
        self._tasks: list[asyncio.Task[None]] = []
        self._deps: Deps
        self._health: HealthWatch
        self._server: grpc.aio.Server

    @property
    def address(self) -> str:
        """host:port, with the port that was really bound."""
        return f"{self.settings.host}:{self.port}"

    @property
    def metrics_address(self) -> str | None:
        """host:port of the side port, if there is one."""
        return self._endpoint.address if self._endpoint else None

    @property
    def deps(self) -> Deps:
        """What the RPCs work with."""
        return self._deps

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.stop()

    async def start(self) -> None:
        """Binds and serves.

        Raises:
            BindError: The address is taken or is not ours.
            TokenFileError: The token file is wrong.
            CertificateError: Certificate, key or authority cannot be used.
        """
        settings = self.settings
        table = TokenTable(plain_entries(settings.all_tokens), path=settings.tokens_file)
        certificate = _certificate(settings)
        self._reloads["tokens"] = table.num_reloads
        self._deps = deps = self._build()
        self._server = grpc.aio.server(
            interceptors=[
                LogInterceptor(self.telemetry),
                AuthInterceptor(table, open_prefixes=_open_prefixes(settings)),
                ErrorInterceptor(),
            ],
            options=_options(settings),
        )
        _grpc_code.add_PreflightServiceServicer_to_server(PreflightServicer(deps), self._server)
        self._health = HealthWatch(deps.ledger, self.telemetry)
        _health_code.add_HealthServicer_to_server(self._health.servicer, self._server)
        if settings.reflection != "off":
            reflection.enable(self._server)
        self.port = self._bind(certificate)
        self._endpoint = self._open_endpoint()
        await asyncio.to_thread(deps.artifacts.sweep_incoming)
        await self._server.start()
        await self._health.look()
        self._tasks = [
            asyncio.create_task(coroutine, name=name)
            for name, coroutine in (
                ("hub", deps.hub.run()),
                ("reaper", deps.reaper.run()),
                ("health", self._health.run()),
            )
        ]
        if settings.is_insecure:
            _log.warning(
                "INSECURE",
                why=f"{self.address} can be reached from other machines, and allow_insecure is set: whoever gets "
                "there can run preflights and read every report, unless something in front of it asks for a token "
                "and speaks TLS",
            )
        _log.info(
            "serving",
            address=self.address,
            tls=settings.uses_tls,
            mutual_tls=settings.tls_client_ca_file is not None,
            tokens=settings.wants_token,
            health=settings.health,
            reflection=settings.reflection,
            metrics=self.metrics_address,
        )

    def _build(self) -> Deps:
        ledger = AsyncLedger.connect(self.store)
        artifacts = ArtifactStore(settings=self.store)
        # `set_as_current=False`: a program that embeds the service keeps its own Celery app.
        app = _celery_code.Celery("hotfire-service", set_as_current=False)
        app.conf.update(celery_config(settings=self.store))

        async def send(key: str, pool: str) -> None:
            await send_message(app, key, pool)

        return Deps(
            settings=self.settings,
            ledger=ledger,
            artifacts=artifacts,
            admission=Admission(self.settings, ledger, artifacts),
            hub=ChangeHub(ledger.redis, ledger.keys),
            reaper=Reaper(ledger, artifacts, send, interval_s=self.settings.sweep_s),
            celery=app,
        )

    def _open_endpoint(self) -> Endpoint | None:
        if self.settings.metrics_address is None:
            return None
        try:
            listening = listen(self.settings.metrics_address, setting="metrics_address")
        except AddressError as error:
            raise BindError(str(error)) from None
        self.telemetry.watch_reloads(self._reloads)
        endpoint = Endpoint(listening, self.telemetry.registry, live=lambda: None, ready=self._why_not_ready)
        endpoint.start()
        return endpoint

    def _why_not_ready(self) -> str | None:
        if self._deps.stopping.is_set():
            return "stopping"
        return None if self.telemetry.is_store_up else "Redis does not answer"

    def _bind(self, certificate: ServerCertificate | None) -> int:
        settings = self.settings
        host = f"[{settings.host}]" if ":" in settings.host and "[" not in settings.host else settings.host
        address = f"{host}:{settings.port}"
        try:
            if certificate is not None:
                self._reloads["certificate"] = certificate.num_reloads
                port = self._server.add_secure_port(address, certificate.credentials())
            else:
                port = self._server.add_insecure_port(address)
        except (RuntimeError, OSError) as error:
            raise BindError(f"cannot listen on {address}: {error}") from None
        if port == 0:
            raise BindError(f"cannot listen on {address}: it is taken, or not an address of this machine")
        return port

    async def stop(self) -> None:
        """Ends gracefully: health says so, watchers are told to reconnect, calls get their grace."""
        _log.info("stopping")
        self._deps.stopping.set()
        await self._health.servicer.enter_graceful_shutdown()
        self._deps.hub.wake_all()
        await self._server.stop(self.settings.stop_grace_s)
        await self._deps.reaper.stop()
        tasks = [*self._tasks, *self._deps.background]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await self._deps.ledger.aclose()
        await asyncio.to_thread(self._deps.celery.close)
        if self._endpoint is not None:
            await asyncio.to_thread(self._endpoint.close)
        _log.info("stopped")

    async def wait(self) -> None:
        """Returns when the server has stopped."""
        await self._server.wait_for_termination()


def _options(settings: ServiceSettings) -> list[tuple[str, int]]:
    return [
        ("grpc.max_receive_message_length", settings.max_message_bytes),
        ("grpc.max_send_message_length", settings.max_message_bytes),
        # Two services on one port would silently share it.
        ("grpc.so_reuseport", 0),
        # Clients ping every 30 s through a silent watch; the default allows one ping in 5 minutes.
        ("grpc.keepalive_permit_without_calls", 1),
        ("grpc.http2.min_recv_ping_interval_without_data_ms", 20_000),
        ("grpc.keepalive_time_ms", 60_000),
        ("grpc.keepalive_timeout_ms", 20_000),
    ]


def _certificate(settings: ServiceSettings) -> ServerCertificate | None:
    if settings.tls_cert_file is None or settings.tls_key_file is None:
        return None
    return ServerCertificate(settings.tls_cert_file, settings.tls_key_file, settings.tls_client_ca_file)


def _open_prefixes(settings: ServiceSettings) -> tuple[str, ...]:
    """Methods that need no token."""
    doors = ((HEALTH, settings.health), (REFLECTION, settings.reflection))
    return tuple(prefix for prefix, door in doors if door == "open")
