"""E101 version-mismatch."""

from __future__ import annotations

from collections.abc import Iterable

from hotfire.rules.engine import Rule, Skip
from hotfire.rules.evidence import Evidence, Finding, Fix, Location, Severity


class VersionMismatch(Rule):
    """The worker's libraries are not those of the target cluster.

    Why:
        A fault of one version does not show under another. DeepSpeed 0.17.6, for one, keeps only the last
        micro-batch at stage 2, and 0.19.8 does not. The verdict covers the versions that ran.

    Example:
        `cluster.versions: {deepspeed: 0.18.2}` on a worker with 0.19.8.

    Fix:
        A worker with a library set of the target's versions, or a pool that has them; the config rules read the
        version table for the target meanwhile.

    Source:
        The version table of DeepSpeed faults, pull requests 5606, 7371, 7805, 7967, 8080.
    """

    id = "E101"
    name = "version-mismatch"
    severity = Severity.WARNING
    needs = ("environment", "cluster")

    def examine(self, evidence: Evidence) -> Iterable[Finding]:
        """Compares each version the target names with the worker's."""
        environment, cluster = evidence.environment, evidence.cluster
        assert environment is not None
        assert cluster is not None
        if not cluster.versions:
            raise Skip("no versions of the target cluster were given (cluster.versions)")
        # A job may run with a library set of the worker: what ran counts, not what the worker has.
        ran = evidence.candidate.versions if evidence.candidate is not None else {}
        compared = 0
        for library, wanted in sorted(cluster.versions.items()):
            here = ran.get(library) or environment.versions.get(library)
            if here is None:
                continue
            compared += 1
            would_run = [here] if library in ran else [here, *environment.offered.get(library, [])]
            if _release(wanted) in map(_release, would_run):
                continue
            # A patch release of DeepSpeed can change how training goes; that of the others rarely does.
            small = library != "deepspeed" and _release(here)[:2] == _release(wanted)[:2]
            yield Finding(
                message=f"The trials ran with {library} {here}, the target has {wanted}: faults of "
                f"{library} {wanted} "
                "would not show here."
                + (" Lowered to info: only the patch release differs." if small else ""),
                severity=Severity.INFO if small else Severity.WARNING,
                location=Location(config_path=f"/cluster/versions/{library}"),
                evidence={"library": library, "worker": here, "target": wanted},
                fix=Fix(
                    description=f"Run the preflight on a worker pool with {library} {wanted}, or give the worker a "
                    "library set of it (HOTFIRE_WORKER_LIBRARY_SETS)."
                ),
            )
        if not compared:
            raise Skip("the worker does not report the libraries that the target names")


def _release(version: str) -> list[str]:
    """The release of "2.13.0+cpu" is ["2", "13", "0"]: the local part says nothing about behaviour."""
    return version.strip().split("+")[0].split(".")
