"""The environment rules."""

from __future__ import annotations

from hotfire.rules.engine import Rule

ENVIRONMENT_RULES: tuple[Rule, ...] = ()
