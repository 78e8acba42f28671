"""Which trials a job needs, as requests. Candidate and reference always; the others differ by a patch."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from hotfire.dsconfig import effective, schedule
from hotfire.patch import get_pointer
from hotfire.rules.evidence import Cluster, PatchOperation, Plan, Role, TrialRequest
from hotfire_workers.adapt import Adapted, adapt
from hotfire_workers.job import Job, patched
from hotfire_workers.library_sets import Libraries
from hotfire_workers.prepare import Prepared
from hotfire_workers.settings import WorkerSettings
from hotfire_workers.slots import Slot

STAGES = (0, 1, 2, 3)
_OFFLOADS = (
    "/deepspeed/zero_optimization/offload_optimizer",
    "/deepspeed/zero_optimization/offload_param",
)
#: Steps at the schedule's peak: they show what the first steps of a warm-up hide.
_NUM_PEAK_STEPS = 3
_ATTEMPTS_PER_STEP = 5
#: Of the trials that only compare: a search for the loss scale that takes longer is the candidate's to show.
_FEWER_ATTEMPTS_PER_STEP = 3
#: Such a trial has failed for good when it began with so many non-finite losses; the candidate and the reference
#: show all of their steps.
_LOST_ATTEMPTS = 3
_DEFAULT_SEED = 42


@dataclass(frozen=True, kw_only=True, slots=True)
class Planner:
    """Turns jobs into trial requests for one slot.

    Attributes:
        run_dir: Trials lie below it.
        slot: Where they run.
        settings: What is allowed.
        libraries: What trials can run with: a job that names versions runs with those, where they are here.
    """

    run_dir: Path
    slot: Slot
    settings: WorkerSettings
    libraries: Libraries = field(default_factory=Libraries)

    def request(
        self, job: Job, adapted: Adapted, prepared: Prepared, *, name: str, role: Role
    ) -> TrialRequest:
        """The trial of a job; with role REFERENCE the same loop without DeepSpeed."""
        plan = job.evidence.plan or Plan()
        is_reference = role is Role.REFERENCE
        if is_reference and plan.reference_deepspeed:
            # The user names a config that trains: it takes the place of plain PyTorch.
            job = patched(
                job, [PatchOperation(op="replace", path="/deepspeed", value=plan.reference_deepspeed)]
            )
            adapted = adapt(job, self.slot)
            is_reference = False
        is_main = role in (Role.CANDIDATE, Role.REFERENCE)
        num_steps = max(1, plan.num_steps)
        return TrialRequest(
            name=name,
            role=role.value,
            run_dir=str(self.run_dir / "trials" / name),
            prepared_dir=str(prepared.folder),
            model=prepared.model,
            training=adapted.training,
            deepspeed=None if is_reference else adapted.config,
            reference_config=adapted.config if is_reference else None,
            loop=job.loop,
            num_ranks=adapted.num_ranks,
            num_steps=num_steps,
            num_peak_steps=min(_NUM_PEAK_STEPS, num_steps // 2),
            max_attempts=num_steps * (_ATTEMPTS_PER_STEP if is_main else _FEWER_ATTEMPTS_PER_STEP),
            max_lost_attempts=None if is_main else _LOST_ATTEMPTS,
            total_steps=total_steps(job, adapted),
            micro_batch_size=adapted.micro_batch_size,
            gradient_accumulation_steps=adapted.gradient_accumulation_steps,
            seed=int(job.training.get("seed") or _DEFAULT_SEED),
            collective_timeout_s=self.settings.collective_timeout_s,
            emulate_fp16=adapted.emulate_fp16,
            allow_remote_code=self.settings.remote_code,
            env=self.slot.env,
            library_set=self.libraries.choose((job.evidence.cluster or Cluster()).versions),
        )


def total_steps(job: Job, adapted: Adapted) -> int | None:
    """Optimizer steps of the *real* job, which is how long its schedule is; None where the spec does not tell."""
    cluster = job.evidence.cluster or Cluster()
    batch = effective.batch(job.given or {}, job.training, job.loop, cluster.world_size or adapted.num_ranks)
    return schedule.total_steps(job.training, cluster, batch)


#: What decides how a trial goes.
_DECISIVE = (
    "prepared_dir",
    "model",
    "training",
    "deepspeed",
    "reference_config",
    "loop",
    "num_ranks",
    "num_steps",
    "num_peak_steps",
    "total_steps",
    "micro_batch_size",
    "gradient_accumulation_steps",
    "seed",
    "emulate_fp16",
    "library_set",
)
#: What the reference takes from the config.
_FOR_REFERENCE = ("optimizer", "scheduler", "gradient_clipping", "torch_autocast")
#: Of these only whether they are on: its loss scaling is torch's own.
_PRECISIONS = ("fp16", "bf16", "bfloat16")


def effective_key(request: TrialRequest) -> str:
    """Two requests with the same key are the same trial."""
    return _key({name: getattr(request, name) for name in _DECISIVE})


def reference_key(request: TrialRequest) -> str:
    """Two references with the same key go the same way, whatever else stands in the config."""
    values = {name: getattr(request, name) for name in _DECISIVE}
    config = request.reference_config or {}
    taken = {name: config[name] for name in _FOR_REFERENCE if name in config}
    for name in _PRECISIONS:
        if isinstance(section := config.get(name), dict):
            taken[name] = section.get("enabled")
    values["reference_config"] = taken
    return _key(values)


def _key(values: dict[str, Any]) -> str:
    return json.dumps(values, sort_keys=True, default=str)


def stage_patch(document: dict[str, Any], stage: int) -> list[PatchOperation]:
    """The patch to another ZeRO stage; what only stage 3 knows goes with it."""
    path = "/deepspeed/zero_optimization/stage"
    given = get_pointer(document, path) is not None
    patch = [PatchOperation(op="replace" if given else "add", path=path, value=stage)]
    if stage < 3 and get_pointer(document, "/deepspeed/zero_optimization/offload_param") is not None:
        patch.append(PatchOperation(op="remove", path="/deepspeed/zero_optimization/offload_param"))
    return patch


@dataclass(frozen=True, kw_only=True, slots=True)
class Variant:
    """The job with other things in host memory."""

    name: str
    stage: int
    patch: list[PatchOperation]


def offload_variants(
    document: dict[str, Any], submitted: int, given: str | None, *, more: bool
) -> list[Variant]:
    """Variants of what lies in host memory (CPU).

    Args:
        document: The spec document.
        submitted: Its ZeRO stage.
        given: What it offloads: "optimizer", "param", "optimizer+param" or None.
        more: Also variants that offload more than the job does.
    """
    variants: list[Variant] = []
    if given is not None:
        present = [name for name in _OFFLOADS if get_pointer(document, name) is not None]
        variants.append(
            Variant(
                name=f"stage-{submitted}-no-offload",
                stage=submitted,
                patch=[PatchOperation(op="remove", path=path) for path in present],
            )
        )
    if not more:
        return variants
    for stage, words in ((2, "optimizer"), (3, "optimizer"), (3, "optimizer+param")):
        if (stage, words) == (submitted, given):
            continue
        patch = stage_patch(document, stage) if stage != submitted else []
        for path, name in zip(_OFFLOADS, ("optimizer", "param"), strict=True):
            is_there = get_pointer(document, path) is not None
            if name in words:
                op = "replace" if is_there else "add"
                patch.append(PatchOperation(op=op, path=path, value={"device": "cpu"}))
            elif is_there and not any(operation.path == path for operation in patch):
                patch.append(PatchOperation(op="remove", path=path))
        variants.append(
            Variant(name=f"stage-{stage}-offload-{words.replace('+', '-')}", stage=stage, patch=patch)
        )
    return variants


def stages_to_compare(plan: Plan | None, submitted: int, *, is_wrong: bool) -> list[int]:
    """The stages of the plan; without, the other ones when something is wrong."""
    wanted = list(plan.stages) if plan and plan.stages else (list(STAGES) if is_wrong else [])
    return [stage for stage in dict.fromkeys(wanted) if stage != submitted and stage in STAGES]
