"""Runs a case through the real preflight, and compares what comes out with what must."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from hotfire import spec as specs
from hotfire.v1 import report_pb2
from hotfire_workers.events import MemorySink
from hotfire_workers.preflight import run_preflight
from hotfire_workers.runner.base import Runner
from hotfire_workers.runner.service import WarmService
from hotfire_workers.settings import WorkerSettings

V = report_pb2
ROOT = Path(__file__).parents[2]


@dataclass(frozen=True, kw_only=True, slots=True)
class Case:
    """A spec, and what must come out of it."""

    name: str
    folder: Path
    what: str
    guilty: str
    """Without its prefix: NONE, STAGE, KEYS, ..."""
    guilty_keys: list[str]


def find_cases(folder: Path) -> list[Case]:
    """The cases of a folder that say what must come out."""
    return [
        Case(name=file.parent.name, folder=file.parent, **yaml.safe_load(file.read_text(encoding="utf-8")))
        for file in sorted(folder.glob("*/expected.yaml"))
    ]


@contextmanager
def warm_bench(cache: Path) -> Iterator[tuple[Runner, WorkerSettings]]:
    """A warm slot of this machine."""
    settings = WorkerSettings(cache_dir=cache, allowed_roots=[str(ROOT)], device="cpu")
    with WarmService("zero-cases", cache) as service:
        service.wait_ready()
        yield service.runner(), settings


@dataclass(frozen=True, kw_only=True, slots=True)
class Outcome:
    """What came out of a case."""

    report: report_pb2.Report
    seconds: float

    @property
    def guilty(self) -> str:
        """Without its prefix."""
        return V.Guilty.Name(self.report.zero.guilty).removeprefix("GUILTY_")

    @property
    def patch(self) -> list[tuple[str, str, Any]]:
        """The recommended patch, if it was seen to work."""
        fix = self.report.recommendation
        if fix.verification != V.VERIFICATION_VERIFIED:
            return []
        return [(o.op, o.path, o.value) for o in fix.patch]


def run_case(case: Case, runner: Runner, settings: WorkerSettings) -> Outcome:
    """Runs one case, the worker already warm."""
    spec = specs.load(case.folder / "hotfire.yaml").message()
    began = time.monotonic()
    report = run_preflight(spec, runner=runner, sink=MemorySink(), settings=settings)
    return Outcome(report=report, seconds=time.monotonic() - began)


def problems(case: Case, outcome: Outcome) -> list[str]:
    """How the outcome differs from what must come out; empty: it does not."""
    found = []
    zero, report = outcome.report.zero, outcome.report
    if outcome.guilty != case.guilty:
        found.append(f"guilty is {outcome.guilty}: {zero.explanation}")
    if set(zero.guilty_keys) != set(case.guilty_keys):
        found.append(f"guilty keys are {list(zero.guilty_keys)}: {zero.explanation}")
    if case.guilty == "NONE":
        if report.verdict not in (V.VERDICT_PASS, V.VERDICT_WARN):
            found.append(f"the verdict is {V.Verdict.Name(report.verdict)}: {report.headline}")
    elif report.verdict != V.VERDICT_FAIL:
        found.append(f"the verdict is {V.Verdict.Name(report.verdict)}: {report.headline}")
    elif not outcome.patch:
        found.append(f"no verified patch is recommended: {report.headline}")
    return found
