"""What the version table says of a job: for the rules that ask it."""

from __future__ import annotations

from hotfire.dsconfig.known_bad import KnownBad, Setting, known_bad, setting_of
from hotfire.dsconfig.versions import parse
from hotfire.rules.evidence import Evidence


def versions_of(evidence: Evidence) -> dict[str, str]:
    """The versions that the job is asked about: the target's where it names DeepSpeed's, else the worker's."""
    target = evidence.cluster.versions if evidence.cluster is not None else {}
    if "deepspeed" in target:
        return dict(target)
    return dict(evidence.environment.versions) if evidence.environment is not None else {}


def setting(evidence: Evidence) -> Setting:
    """The job as the table asks about it; a config must have been read."""
    assert evidence.config is not None
    return setting_of(
        evidence.config.effective or evidence.config.given or {},
        given=evidence.config.given,
        training=evidence.training,
        world_size=evidence.cluster.world_size if evidence.cluster is not None else None,
    )


def known_faults(evidence: Evidence) -> list[KnownBad]:
    """The faults that can strike the job under those versions; empty also where nothing is known."""
    if evidence.config is None or evidence.config.given is None:
        return []
    return known_bad(setting(evidence), versions_of(evidence))


def offered_version(evidence: Evidence, *, at_least: str) -> str:
    """The nearest DeepSpeed from a release on that trials can run with here; the release itself where none is known."""
    offered = evidence.environment.offered.get("deepspeed", []) if evidence.environment is not None else []
    return min((v for v in offered if parse(v) >= parse(at_least)), key=parse, default=at_least)
