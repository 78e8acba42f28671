"""The data rules."""

from __future__ import annotations

from hotfire.rules.engine import Rule

DATA_RULES: tuple[Rule, ...] = ()
