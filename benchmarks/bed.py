"""A worker slot and jobs prepared in it, put together from the worker's own parts, without service and queue."""

from __future__ import annotations

import os
import shutil
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from hotfire import spec as specs
from hotfire import static
from hotfire.rules.evidence import Role, Trial, TrialRequest
from hotfire.v1 import spec_pb2
from hotfire.wire import dict_to_struct
from hotfire_workers.__main__ import set_up
from hotfire_workers.adapt import adapt
from hotfire_workers.budget import Budget
from hotfire_workers.job import job_of
from hotfire_workers.plan import Planner
from hotfire_workers.prepare import Prepared, Preparer
from hotfire_workers.resolve import Resolver
from hotfire_workers.runner.base import Runner
from hotfire_workers.runner.service import WarmService
from hotfire_workers.settings import WorkerSettings
from hotfire_workers.slots import Slot, find_slots

EXAMPLES = Path(__file__).resolve().parent.parent / "examples"
LOOPS = ("TRAINER", "DEEPSPEED")
_TIMEOUT_S = 300.0


class BenchError(Exception):
    """What was to be measured did not run."""


@dataclass(kw_only=True)
class Bed:
    """A slot with its warm process.

    Attributes:
        service: The warm process's keeper.
        slot: What trials may use.
        warm_up_s: Until the warm process took work.
    """

    service: WarmService
    slot: Slot
    warm_up_s: float
    _settings: WorkerSettings
    _folder: Path
    _preparer: Preparer
    _number: int = field(default=0)

    def job(self, spec: spec_pb2.PreflightSpec) -> tuple[Prepared, TrialRequest]:
        """Prepares a job; jobs that differ in config and loop alone share one preparation.

        Returns:
            The preparation, and the request of the candidate trial.

        Raises:
            BenchError: It cannot run here.
        """
        job = job_of(spec)
        adapted = adapt(job, self.slot)
        prepared = self._preparer.prepare(job, adapted)
        if prepared.problem is not None:
            raise BenchError(prepared.problem)
        planner = Planner(run_dir=self._folder, slot=self.slot, settings=self._settings)
        request = planner.request(job, adapted, prepared, name="candidate", role=Role.CANDIDATE)
        request.timeout_s = _TIMEOUT_S
        return prepared, request

    def run(self, runner: Runner, request: TrialRequest, *, launcher: str = "warm") -> Trial:
        """Runs a trial in a folder of its own, which is gone afterwards.

        Raises:
            BenchError: It did not complete, or not in the way that was asked for.
        """
        self._number += 1
        folder = self._folder / "trials" / str(self._number)
        request.run_dir = str(folder)
        try:
            trial = runner.run_trial(request)
        finally:
            shutil.rmtree(folder, ignore_errors=True)
        if not trial.completed or trial.launcher != launcher:
            why = trial.error.message if trial.error else trial.reason
            raise BenchError(f"a {launcher} trial ran {trial.launcher} and ended with: {why}")
        return trial


@contextmanager
def bed(example: str, *, roots: Sequence[Path] = ()) -> Iterator[Bed]:
    """Sets up the environment (0.1 s when it was done before) and starts a warm process.

    Args:
        example: Whose files jobs may name.
        roots: More folders whose files they may name.
    """
    settings = WorkerSettings(allowed_roots=[str(EXAMPLES / example), *map(str, roots)])
    set_up(settings)
    slot = find_slots(settings)[0]
    service = WarmService(
        f"benchmarks-{os.getpid()}", settings.cache_dir, device=slot.device_type, env=slot.env
    )
    with tempfile.TemporaryDirectory(prefix="hotfire-bench-") as folder, service:
        began = time.monotonic()
        service.wait_ready()
        budget = Budget(3600.0)
        budget.start()
        preparer = Preparer(
            runner=service.runner(),
            resolver=Resolver(run_dir=Path(folder), settings=settings),
            slot=slot,
            settings=settings,
            run_dir=Path(folder),
            budget=budget,
            should_stop=lambda: False,
        )
        yield Bed(
            service=service,
            slot=slot,
            warm_up_s=time.monotonic() - began,
            _settings=settings,
            _folder=Path(folder),
            _preparer=preparer,
        )
    shutil.rmtree(settings.cache_dir / "run" / service.slot, ignore_errors=True)


def spec_of(example: str, *, loop: str, stage: int, num_layers: int | None = None) -> spec_pb2.PreflightSpec:
    """An example's spec for a loop and a ZeRO stage.

    Its "auto" values are replaced by what they mean: a loop over `deepspeed.initialize` resolves none.

    Args:
        example: Its folder.
        loop: One of LOOPS.
        stage: ZeRO stage.
        num_layers: Only so many layers of the model; None: all.
    """
    spec = specs.load(EXAMPLES / example).message()
    spec.training.loop = getattr(spec_pb2, f"LOOP_{loop}")
    if num_layers is not None:
        spec.model.num_layers = num_layers
    training = static.training_dict(spec.training)
    given = static.deepspeed_config(spec.deepspeed).given or {}
    config: dict[str, Any] = {k: v for k, v in given.items() if v != "auto" and k not in ("fp16", "bf16")}
    config |= {
        "train_micro_batch_size_per_gpu": training["per_device_train_batch_size"],
        "gradient_accumulation_steps": training["gradient_accumulation_steps"],
        "gradient_clipping": training["max_grad_norm"],
        "bf16": {"enabled": training["bf16"]},
    }
    config["zero_optimization"] = {**given["zero_optimization"], "stage": stage}
    spec.deepspeed.config.CopyFrom(dict_to_struct(config))
    return spec
