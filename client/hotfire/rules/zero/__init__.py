"""The zero rules."""

from __future__ import annotations

from hotfire.rules.engine import Rule

ZERO_RULES: tuple[Rule, ...] = ()
