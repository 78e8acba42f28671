"""Z104 guilty-key."""

from __future__ import annotations

from collections.abc import Iterable

from hotfire.rules.engine import Rule
from hotfire.rules.evidence import Evidence, Finding, Guilty, Location, Severity
from hotfire.rules.remedy import with_patch
from hotfire.rules.wording import listed
from hotfire.rules.zero.verdict import fix_of, other_fixes, zero_verdict


class GuiltyKey(Rule):
    """The smallest set of keys of the DeepSpeed config that makes the difference.

    Why:
        With these keys changed, and nothing else, the submitted stage trains like the run without DeepSpeed.

    Example:
        `/deepspeed/fp16/initial_scale_power: 32`: eight of eight steps are skipped; with 16 they are applied.

    Fix:
        The patch, which a trial ran.

    Source:
        The trials of this preflight.
    """

    id = "Z104"
    name = "guilty-key"
    severity = Severity.ERROR
    needs = ("trials",)

    def examine(self, evidence: Evidence) -> Iterable[Finding]:
        """Reads the ZeRO verdict."""
        verdict = zero_verdict(evidence)
        if verdict.guilty is not Guilty.KEYS:
            return
        keys = [key.removeprefix("/deepspeed/").replace("/", ".") for key in verdict.guilty_keys]
        yield Finding(
            message=f"The DeepSpeed config's {listed(keys)} {'is' if len(keys) == 1 else 'are'} guilty: "
            f"{with_patch(verdict.recommended_patch)} the submitted stage {verdict.submitted_stage} "
            "trains. "
            f"{verdict.explanation}",
            location=Location(config_path=verdict.guilty_keys[0], trial=verdict.trial),
            evidence={"guilty_keys": verdict.guilty_keys, "trial": verdict.trial},
            fix=fix_of(verdict),
            alternatives=other_fixes(verdict),
        )
