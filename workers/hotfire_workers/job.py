"""A job: the spec as submitted or as patched, with the evidence that the spec alone gives."""

from __future__ import annotations

import copy
import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from hotfire import static, wire
from hotfire.patch import apply_patch
from hotfire.rules.evidence import Evidence, Finding, Judgement, PatchOperation
from hotfire.v1 import spec_pb2

CANNOT_START = "the config cannot start"
_DEFAULT_LOOP = "TRAINER"


@dataclass(kw_only=True, slots=True)
class Job:
    """What a trial is made from."""

    spec: spec_pb2.PreflightSpec
    evidence: Evidence
    """Config, training, cluster, plan and the spec document."""
    patch: list[PatchOperation] = field(default_factory=list)
    """Difference from what was submitted."""

    @property
    def loop(self) -> str:
        """The loop that runs."""
        return self.evidence.loop or _DEFAULT_LOOP

    @property
    def training(self) -> dict[str, Any]:
        """The arguments that were given."""
        return self.evidence.training or {}

    @property
    def given(self) -> dict[str, Any] | None:
        """The DeepSpeed config as parsed; None if it cannot be read."""
        return self.evidence.config.given if self.evidence.config else None

    @property
    def effective(self) -> dict[str, Any]:
        """The DeepSpeed config as it takes effect; empty if it cannot be read."""
        config = self.evidence.config
        return (config.effective or config.given or {}) if config else {}


def job_of(spec: spec_pb2.PreflightSpec, *, model_config: dict[str, Any] | None = None) -> Job:
    """The job as submitted."""
    return Job(spec=spec, evidence=static.job_evidence(spec, model_config=model_config))


def patched(job: Job, patch: Sequence[PatchOperation], *, model_config: dict[str, Any] | None = None) -> Job:
    """The job with a patch on it.

    Raises:
        PatchError: The patch does not fit the spec document.
        WireError: The patched document is no spec.
    """
    document = apply_patch(job.evidence.spec, patch)
    result = job_of(_spec_from(job.spec, document), model_config=model_config)
    result.patch = [*job.patch, *patch]
    return result


def _spec_from(original: spec_pb2.PreflightSpec, document: dict[str, Any]) -> spec_pb2.PreflightSpec:
    """The spec that a document describes; rows and plan are the original's."""
    known = spec_pb2.TrainingSpec.DESCRIPTOR.fields_by_name
    training = {k: v for k, v in (document.get("training") or {}).items() if k in known}
    other = {k: v for k, v in (document.get("training") or {}).items() if k not in known}
    values = {
        "training": training | ({"other": other} if other else {}),
        "data": document.get("data") or {},
        "model": document.get("model") or {},
        "cluster": document.get("cluster") or {},
    }
    spec = wire.message_from_dict(values, spec_pb2.PreflightSpec)
    spec.data.rows.extend(original.data.rows)
    if original.HasField("plan"):
        spec.plan.CopyFrom(original.plan)
    if document.get("deepspeed") is not None:
        spec.deepspeed.config_json = json.dumps(document["deepspeed"], indent=2)
    else:
        spec.deepspeed.CopyFrom(original.deepspeed)
    return spec


def blocking(judgement: Judgement) -> list[Finding]:
    """The findings with which the job, as given, cannot start."""
    return [f for f in judgement.findings if f.blocks_start]


def merged(patches: Sequence[Sequence[PatchOperation]]) -> list[PatchOperation]:
    """Several patches as one. Where two want to change one place (or a part of it), the earlier one wins."""
    result: list[PatchOperation] = []
    for patch in patches:
        result += [operation for operation in patch if not any(_overlap(operation, o) for o in result)]
    return copy.deepcopy(result)


def _overlap(one: PatchOperation, other: PatchOperation) -> bool:
    a, b = one.path + "/", other.path + "/"
    return a.startswith(b) or b.startswith(a)


def patch_key(patch: Sequence[PatchOperation]) -> str:
    """Two patches with the same key are the same patch."""
    return json.dumps([[o.op, o.path, o.value] for o in patch], sort_keys=True, default=str)
