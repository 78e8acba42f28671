"""What several config rules work out of the job: the config that takes effect, its batch, its length."""

from __future__ import annotations

from typing import Any

from hotfire.dsconfig import effective, schedule
from hotfire.rules.config.common import config_of, version_of
from hotfire.rules.evidence import Evidence, Severity

GIVE_THE_LOOP = " A warning only, as the loop is not given (trainer, accelerate or deepspeed)."


def effective_config(evidence: Evidence) -> dict[str, Any]:
    """The config as it takes effect; worked out here where the caller did not.

    Raises:
        Skip: Nothing can read the config.
    """
    given = config_of(evidence)
    assert evidence.config is not None
    if evidence.config.effective is not None:
        return evidence.config.effective
    return effective.resolve(
        given,
        training=evidence.training or {},
        loop=evidence.loop,
        model_config=model_config(evidence) or None,
        world_size=world_size(evidence),
        version=version_of(evidence),
    ).config


def model_config(evidence: Evidence) -> dict[str, Any]:
    """The model's config.json; empty where it is not known."""
    return evidence.model.config if evidence.model is not None else {}


def world_size(evidence: Evidence) -> int | None:
    """Data-parallel ranks of the real job, where known."""
    return evidence.cluster.world_size if evidence.cluster is not None else None


def batch(evidence: Evidence) -> effective.Batch:
    """The batch triple of the real job."""
    return effective.batch(config_of(evidence), evidence.training or {}, evidence.loop, world_size(evidence))


def total_steps(evidence: Evidence) -> int | None:
    """Optimizer steps of the real job; None where what it hangs on is not given."""
    if evidence.cluster is None:
        return None
    return schedule.total_steps(evidence.training or {}, evidence.cluster, batch(evidence))


def refused(evidence: Evidence) -> Severity:
    """Severity of what is refused once the loop that the job names begins: a bare file names none."""
    return Severity.WARNING if evidence.loop is None else Severity.ERROR


def is_peft(evidence: Evidence) -> bool:
    """The job trains adapters."""
    return bool((evidence.training or {}).get("peft"))


def library(evidence: Evidence, name: str) -> str | None:
    """A library's version: the target's where it is named, else the worker's; None where neither is known."""
    if evidence.cluster is not None and name in evidence.cluster.versions:
        return evidence.cluster.versions[name]
    return evidence.environment.versions.get(name) if evidence.environment is not None else None
