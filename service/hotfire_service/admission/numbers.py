"""Ranges of plan, target cluster and model. Wrong training arguments are findings, not violations."""

from __future__ import annotations

import math
from typing import Any

from google.protobuf.duration_pb2 import Duration

from hotfire.v1 import spec_pb2
from hotfire_service.admission.shape import Violations
from hotfire_service.settings import ServiceSettings
from hotfire_service.store.settings import StoreSettings

_STAGES = range(4)


def check_plan(
    plan: spec_pb2.PlanSpec,
    violations: Violations,
    *,
    settings: ServiceSettings,
    store: StoreSettings,
    path: str = "spec.plan",
) -> None:
    """How the preflight is to be run."""
    _between(plan, "num_steps", 1, settings.max_steps, path, violations)
    _between(plan, "num_ranks", 1, settings.max_ranks, path, violations)
    _duration(plan, "time_budget", store.max_time_budget_s, path, violations)
    _duration(plan, "queue_timeout", settings.max_queue_timeout_s, path, violations)
    for i, stage in enumerate(plan.stages):
        if stage not in _STAGES:
            violations.add(f"{path}.stages[{i}]", f"{stage} is not a ZeRO stage (0, 1, 2 or 3)")
    if len(set(plan.stages)) != len(plan.stages):
        violations.add(f"{path}.stages", "a stage is named twice")


def check_cluster(
    cluster: spec_pb2.ClusterSpec, violations: Violations, *, path: str = "spec.cluster"
) -> None:
    """The target cluster."""
    for name in (
        "num_gpus",
        "num_nodes",
        "data_parallel_size",
        "gpu_memory_bytes",
        "host_memory_bytes",
        "num_train_rows",
    ):
        _between(cluster, name, 1, math.inf, path, violations)
    if cluster.HasField("num_gpus") and cluster.num_gpus >= 1:
        for name in ("num_nodes", "data_parallel_size"):
            if cluster.HasField(name) and getattr(cluster, name) > cluster.num_gpus:
                violations.add(
                    f"{path}.{name}", f"{getattr(cluster, name)} is more than num_gpus = {cluster.num_gpus}"
                )
    for library, version in cluster.versions.items():
        if not library or not version:
            violations.add(f"{path}.versions", "a library or a version is empty")


def check_model_numbers(
    model: spec_pb2.ModelSpec, violations: Violations, *, path: str = "spec.model"
) -> None:
    """Numbers of the model part."""
    _between(model, "num_layers", 1, math.inf, path, violations)


def _between(message: Any, name: str, low: int, high: float, path: str, violations: Violations) -> None:
    if not message.HasField(name):
        return
    value = getattr(message, name)
    if not low <= value <= high:
        allowed = f"at least {low}" if math.isinf(high) else f"from {low} to {high:g}"
        violations.add(f"{path}.{name}", f"{value} is out of range: must be {allowed}")


def _duration(message: Any, name: str, most_s: float, path: str, violations: Violations) -> None:
    if not message.HasField(name):
        return
    duration: Duration = getattr(message, name)
    seconds = duration.seconds + duration.nanos / 1e9
    if not 0 < seconds <= most_s:
        violations.add(
            f"{path}.{name}",
            f"{seconds:g}s is out of range: must be more than 0s and at most {most_s:g}s on this server",
        )
