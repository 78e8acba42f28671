"""Preference pairs have two sides: a rule about answers looks at both."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable, Iterable
from typing import Any

from hotfire.rules.engine import Skip
from hotfire.rules.evidence import Evidence, Finding
from hotfire.rules.wording import clause

_Examine = Callable[[Any, Evidence], Iterable[Finding]]


def both_sides(examine: _Examine) -> _Examine:
    """Lets `examine` look at the chosen answers, and then at the rejected ones as if they were the rows."""

    @functools.wraps(examine)
    def on_both(rule: Any, evidence: Evidence) -> Iterable[Finding]:
        yield from examine(rule, evidence)
        data = evidence.data
        if data is None or not data.rejected_answers:
            return
        # Lines that could not be read are told of once, and no trial ran on these.
        other = dataclasses.replace(data, rows=data.rejected_answers, rejected_answers=None, rejected=[])
        try:
            found = list(examine(rule, dataclasses.replace(evidence, data=other, trials=None)))
        except Skip:
            return
        for finding in found:
            finding.message = f"Of the rejected answers of the pairs: {clause(finding.message)}"
            finding.evidence["side"] = "rejected"
            yield finding

    return on_both
