"""What one config rule says, and whether its fix cures what it says."""

from __future__ import annotations

from typing import Any

from hotfire.dsconfig.positions import from_mapping, read_config
from hotfire.patch import apply_patch
from hotfire.rules.engine import Rule, judge
from hotfire.rules.evidence import Check, Cluster, Evidence, Finding, Fix, ModelFacts

HEALTHY = """{
    "train_batch_size": 16,
    "train_micro_batch_size_per_gpu": 2,
    "gradient_clipping": 1.0,
    "bf16": {"enabled": true},
    "zero_optimization": {"stage": 2, "overlap_comm": true, "reduce_bucket_size": 5e8}
}"""


def evidence_of(
    config: str | dict[str, Any],
    *,
    training: dict[str, Any] | None = None,
    version: str | None = None,
    model: dict[str, Any] | None = None,
    **cluster: Any,
) -> Evidence:
    """A config (text or object) and what is known besides."""
    read = read_config(config) if isinstance(config, str) else from_mapping(config)
    versions = {"deepspeed": version} if version is not None else {}
    training = training or {}
    return Evidence(
        config=read,
        training=training,
        cluster=Cluster(versions=versions, **cluster),
        model=ModelFacts(config=model) if model is not None else None,
        spec={
            "deepspeed": read.given,
            "training": training,
            "data": {},
            "model": {},
            "cluster": {"versions": versions},
        },
    )


def run(rule: type[Rule], evidence: Evidence) -> tuple[list[Finding], Check]:
    """Findings and outcome of the rule."""
    judgement = judge(evidence, rules=[rule()])
    return judgement.findings, judgement.checks[0]


def lint(rule: type[Rule], config: str | dict[str, Any], **more: Any) -> list[Finding]:
    """The findings of the rule."""
    return run(rule, evidence_of(config, **more))[0]


def cured(rule: type[Rule], config: str | dict[str, Any], fix: Fix | None, **more: Any) -> list[Finding]:
    """What the rule still says once the patch is applied."""
    assert fix is not None
    assert fix.patch, fix.description
    before = evidence_of(config, **more)
    document = apply_patch(before.spec, fix.patch)
    versions = document["cluster"]["versions"]
    more |= {"training": document["training"], "version": versions.get("deepspeed")}
    return lint(rule, document["deepspeed"], **more)
