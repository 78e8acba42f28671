"""The run rules."""

from __future__ import annotations

from hotfire.rules.engine import Rule

RUN_RULES: tuple[Rule, ...] = ()
