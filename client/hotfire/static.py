"""From a spec to the evidence that needs no worker, and the static check built on it."""

from __future__ import annotations

import dataclasses
import functools
from typing import Any

from hotfire import wire
from hotfire.dsconfig import effective, positions
from hotfire.rules.engine import Rule, judge
from hotfire.rules.evidence import (
    Check,
    Cluster,
    DeepSpeedConfig,
    Evidence,
    Judgement,
    ModelFacts,
    Outcome,
    Plan,
)
from hotfire.rules.model.memory_job import memory_report
from hotfire.v1 import preflight_service_pb2 as service_pb2
from hotfire.v1 import report_pb2, spec_pb2

_STATIC_ONLY = "a static check looks at the config and the arguments only"


def static_evidence(spec: spec_pb2.PreflightSpec, *, model_config: dict[str, Any] | None = None) -> Evidence:
    """The evidence that the spec alone gives: config, training, cluster, plan, the spec document.

    Args:
        spec: The spec as submitted.
        model_config: The model's config.json, where it is known: sharpens what "auto" becomes.
    """
    training = training_dict(spec.training)
    cluster = cluster_of(spec.cluster)
    config = deepspeed_config(spec.deepspeed)
    if config.given is not None:
        resolved = effective.resolve(
            config.given,
            training=training,
            loop=training.get("loop"),
            model_config=model_config,
            world_size=cluster.world_size,
            version=cluster.versions.get("deepspeed"),
        )
        config.effective, config.unresolved = resolved.config, resolved.unresolved
    return Evidence(
        config=config,
        training=training,
        cluster=cluster,
        plan=plan_of(spec.plan),
        model=None if model_config is None else ModelFacts(config=model_config),
        spec=spec_document(spec, given=config.given, training=training),
    )


def job_evidence(spec: spec_pb2.PreflightSpec, *, model_config: dict[str, Any] | None = None) -> Evidence:
    """The same for a job that is to run: one that names no loop runs in the HF Trainer, and the rules are told so.

    (`hotfire lint` of a file alone assumes nothing.) The spec document, which patches apply to, is left alone.
    """
    told = spec_pb2.PreflightSpec()
    told.CopyFrom(spec)
    del told.data.rows[:]
    if not told.training.loop:
        told.training.loop = spec_pb2.LOOP_TRAINER
    evidence = static_evidence(told, model_config=model_config)
    evidence.model = None  # whoever runs the job looks at the whole folder first
    evidence.spec = spec_document(spec)
    return evidence


def deepspeed_config(message: spec_pb2.DeepSpeedSpec) -> DeepSpeedConfig:
    """Reads the DeepSpeed config from either of its two forms."""
    if message.WhichOneof("source") == "config_json":
        return positions.read_config(message.config_json)
    return positions.from_mapping(wire.struct_to_dict(message.config))


def training_dict(message: spec_pb2.TrainingSpec) -> dict[str, Any]:
    """The training arguments that were given, by name; `other` is merged in, enums are without prefix."""
    result: dict[str, Any] = {}
    for field, value in message.ListFields():
        if field.name == "other":
            continue
        if field.enum_type is not None:
            name = field.enum_type.values_by_number[value].name
            result[field.name] = name.removeprefix(wire.enum_prefix(field.enum_type))
        elif field.message_type is not None:
            result[field.name] = wire.struct_to_dict(value)
        elif field.name in ("trainable", "frozen"):
            result[field.name] = list(value)
        else:
            result[field.name] = value
    for name, item in message.other.items():
        result.setdefault(name, wire.value_to_python(item))
    return result


def cluster_of(message: spec_pb2.ClusterSpec) -> Cluster:
    """The target cluster as a record."""
    return wire.message_to_record(message, Cluster)


def plan_of(message: spec_pb2.PlanSpec) -> Plan:
    """The plan as a record, defaults filled in."""
    plan = wire.message_to_record(message, Plan)
    if message.HasField("time_budget"):
        plan.time_budget_s = message.time_budget.ToNanoseconds() / 1e9
    if message.HasField("queue_timeout"):
        plan.queue_timeout_s = message.queue_timeout.ToNanoseconds() / 1e9
    return plan


_READ_HERE: Any = object()


def spec_document(
    spec: spec_pb2.PreflightSpec, *, given: Any = _READ_HERE, training: dict[str, Any] | None = None
) -> dict[str, Any]:
    """The document that JSON pointers and patches refer to: {deepspeed, training, data, model, cluster}.

    `deepspeed` is the config itself; inline rows are left out.

    Args:
        spec: The spec as submitted.
        given: The config as parsed, where the caller has it; shared, not copied.
        training: The training arguments, where the caller has them; shared, too.
    """
    cluster = wire.message_to_dict(spec.cluster)
    data = {k: v for k, v in wire.message_to_dict(spec.data).items() if k != "rows"}
    return {
        "deepspeed": deepspeed_config(spec.deepspeed).given if given is _READ_HERE else given,
        "training": training_dict(spec.training) if training is None else training,
        "data": data,
        "model": wire.message_to_dict(spec.model),
        "cluster": {k: int(v) if k.endswith(("_bytes", "_rows")) else v for k, v in cluster.items()},
    }


def static_rules() -> tuple[Rule, ...]:
    """The rules that the spec alone decides, without importing the others."""
    from hotfire.rules.config import CONFIG_RULES
    from hotfire.rules.model import MODEL_RULES

    return (*CONFIG_RULES, *(rule for rule in MODEL_RULES if rule.is_static))


def judge_static(evidence: Evidence, *, every_rule: bool = True) -> Judgement:
    """The static rules over evidence from the spec.

    Args:
        evidence: From `static_evidence`.
        every_rule: List every other rule as skipped.
    """
    static = static_rules()
    if not every_rule:
        return judge(evidence, rules=static)
    ids = {rule.id for rule in static}
    return judge(evidence, only=lambda rule: rule.id in ids, only_reason=_STATIC_ONLY)


def check_config(request: service_pb2.CheckConfigRequest) -> service_pb2.CheckConfigResponse:
    """The answer of `CheckConfig`: static rules only, milliseconds."""
    spec = spec_pb2.PreflightSpec(
        deepspeed=request.deepspeed, training=request.training, cluster=request.cluster, plan=request.plan
    )
    model_config = wire.struct_to_dict(request.model_config) if request.HasField("model_config") else None
    evidence = static_evidence(spec, model_config=model_config)
    return response_of(evidence, judge_static(evidence))


def response_of(evidence: Evidence, judgement: Judgement) -> service_pb2.CheckConfigResponse:
    """What the rules said, as the wire has it."""
    checks: list[Any] = [_check_message(c.rule, c.rule_id, c.outcome, c.reason) for c in judgement.checks]
    told = dataclasses.replace(judgement, checks=checks)
    response = wire.record_to_message(told, service_pb2.CheckConfigResponse)
    if evidence.config is not None and evidence.config.effective is not None:
        response.effective_config.CopyFrom(wire.dict_to_struct(evidence.config.effective))
    if (memory := memory_report(evidence)) is not None:
        response.memory.CopyFrom(wire.record_to_message(memory, report_pb2.MemoryReport))
    return response


@functools.lru_cache(maxsize=1024)
def _check_message(rule: str, rule_id: str, outcome: Outcome, reason: str | None) -> report_pb2.Check:
    """Nearly all checks of an answer are those of the last one; whoever takes it copies it."""
    return wire.record_to_message(
        Check(rule=rule, rule_id=rule_id, outcome=outcome, reason=reason), report_pb2.Check
    )
