"""Runs a case through the real preflight, and compares what comes out with what must."""

from __future__ import annotations

import math
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
    cause: str | None = None
    """The rule of the first finding."""
    mechanism: str | None = None
    """What that finding says of how it comes about."""
    logs_zero: bool = False
    """The HF Trainer prints loss 0.0, and the report shows the line."""
    is_curable: bool = True
    """A patch of the spec cures it."""


def find_cases(folder: Path) -> list[Case]:
    """The cases of a folder that say what must come out."""
    return [
        Case(name=file.parent.name, folder=file.parent, **yaml.safe_load(file.read_text(encoding="utf-8")))
        for file in sorted(folder.glob("*/expected.yaml"))
    ]


@contextmanager
def warm_bench(cache: Path) -> Iterator[tuple[Runner, WorkerSettings]]:
    """A warm slot of this machine."""
    settings = WorkerSettings(cache_dir=cache, allowed_roots=[str(ROOT)], device="cpu", remote_code=True)
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
    elif case.is_curable and not outcome.patch:
        found.append(f"no verified patch is recommended: {report.headline}")
    return [*found, *_wrong_cause(case, outcome.report), *_too_many_trials(case, outcome.report)]


def _wrong_cause(case: Case, report: report_pb2.Report) -> list[str]:
    """The first finding is not the cause, or the line that the Trainer prints is not shown."""
    found = []
    first = report.findings[0] if report.findings else report_pb2.Finding()
    if case.cause is not None and first.rule != case.cause:
        found.append(f"the first finding is {first.rule}: {first.message}")
    if case.mechanism is not None and first.evidence.fields["mechanism"].string_value != case.mechanism:
        found.append(f"the mechanism is {first.evidence.fields['mechanism'].string_value!r}: {first.message}")
    printed = [f.message for f in report.findings if "'loss': 0.0" in f.message]
    if case.logs_zero and not printed:
        found.append("no finding shows the line with loss 0.0 that the Trainer prints")
    return found


def _too_many_trials(case: Case, report: report_pb2.Report) -> list[str]:
    """A single culprit (besides the stage) among n keys takes 2 log2(n) + 4 trials at most."""
    search, keys = report.zero.search, [key for key in case.guilty_keys if not key.endswith("/stage")]
    limit = 2 * math.log2(max(1, search.num_keys)) + 4
    if len(keys) == 1 and search.num_trials > limit:
        return [f"{search.num_trials} trials for {search.num_keys} keys, at most {limit:.0f} are expected"]
    return []
