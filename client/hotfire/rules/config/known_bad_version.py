"""C115 known-bad-version."""

from __future__ import annotations

from collections.abc import Iterable

from hotfire.dsconfig.known_bad import KnownBad, first_good, known_bad
from hotfire.rules.config.common import config_of, place, put
from hotfire.rules.config.job import GIVE_THE_LOOP
from hotfire.rules.engine import Rule, Skip
from hotfire.rules.evidence import Evidence, Finding, Fix, PatchOperation, Severity
from hotfire.rules.known_faults import setting, versions_of

_VERSION_PATH = "/cluster/versions/deepspeed"


class KnownBadVersion(Rule):
    """This DeepSpeed is known to train such a config wrongly.

    Why:
        Some releases lose gradients, or race, with certain configs, and say nothing: the loss falls all the same, to
        another place. No short trial on other hardware, or under another version, can show it. An ERROR always
        strikes; a WARNING is a race or a rare value, which hardware, sizes or luck decide.

    Example:
        DeepSpeed 0.17.6 to 0.18.2, ZeRO-2, accumulation 2: only the last micro-batch of each step is trained on.

        Bad:

        ```json
        {
          "deepspeed": {
            "train_micro_batch_size_per_gpu": 2, "gradient_accumulation_steps": 2, "bf16": {"enabled": true},
            "zero_optimization": {"stage": 2}
          },
          "cluster": {"versions": {"deepspeed": "0.18.2"}}
        }
        ```

        Good:

        ```json
        {
          "deepspeed": {
            "train_micro_batch_size_per_gpu": 2, "gradient_accumulation_steps": 2, "bf16": {"enabled": true},
            "zero_optimization": {"stage": 2}
          },
          "cluster": {"versions": {"deepspeed": "0.18.4"}}
        }
        ```

    Fix:
        The nearest release without the fault (of those that the worker can run, where it is known, so that the upgrade
        is tried); else the key that keeps the fault out.

    Source:
        The version table (hotfire.dsconfig.known_bad_table), measured or from DeepSpeed's pull requests; failures
        F28 to F30, F33, F60 to F70, F83.
    """

    id = "C115"
    name = "known-bad-version"
    severity = Severity.WARNING
    needs = ("config",)

    def examine(self, evidence: Evidence) -> Iterable[Finding]:
        """Asks the table; one finding for each key that lets faults in."""
        config_of(evidence)
        versions = versions_of(evidence)
        if "deepspeed" not in versions:
            raise Skip("no DeepSpeed version is known: cluster.versions does not give the target's")
        by_path: dict[str, list[KnownBad]] = {}
        for entry in known_bad(setting(evidence), versions):
            if entry.told_by_config:
                by_path.setdefault(entry.path, []).append(entry)
        for path, entries in by_path.items():
            yield _finding(
                evidence, path, sorted(entries, key=lambda e: not e.certain), versions["deepspeed"]
            )


def _finding(evidence: Evidence, path: str, entries: list[KnownBad], version: str) -> Finding:
    first = entries[0]
    others = f" ({len(entries) - 1} more of the kind: see the evidence.)" if len(entries) > 1 else ""
    fixes = [*_upgrade(evidence), *_workarounds(evidence, entries)]
    fixed = f"; fixed in {first.fixed_in}" if first.fixed_in else ""
    hangs = first.certain and evidence.loop is None  # DeepSpeed itself accepts the file
    return Finding(
        message=f"DeepSpeed {version} {first.what}{fixed}.{others}" + (GIVE_THE_LOOP if hangs else ""),
        severity=Severity.ERROR if first.certain and not hangs else Severity.WARNING,
        location=place(evidence, path),
        evidence={
            "deepspeed": version,
            "faults": [
                {
                    "id": entry.id,
                    "first_bad": entry.first_bad,
                    "fixed_in": entry.fixed_in,
                    "what": entry.what,
                    "source": entry.source,
                }
                for entry in entries
            ],
        },
        fix=fixes[0] if fixes else None,
        alternatives=fixes[1:],
    )


def _upgrade(evidence: Evidence) -> list[Fix]:
    """To the nearest good release that the worker has; where it has none, or is not known, to the first one."""
    job, versions = setting(evidence), versions_of(evidence)
    offered = evidence.environment.offered.get("deepspeed", []) if evidence.environment is not None else []
    release = first_good(job, versions, among=offered) or first_good(job, versions)
    if release is None:
        return []
    named = evidence.cluster is not None and "deepspeed" in evidence.cluster.versions
    operation = PatchOperation(op="replace" if named else "add", path=_VERSION_PATH, value=release)
    return [Fix(description=f"Use DeepSpeed {release}.", patch=[operation])]


def _workarounds(evidence: Evidence, entries: list[KnownBad]) -> list[Fix]:
    """The keys that keep the faults out; only where they keep out all of them."""
    if any(not entry.workaround for entry in entries):
        return []
    keys = {pointer: value for entry in entries for pointer, value in entry.workaround.items()}
    config = config_of(evidence)
    patch = [operation for pointer, value in keys.items() for operation in put(config, pointer, value)]
    return [Fix(description="Keep it out by the config, at this version.", patch=patch)]
