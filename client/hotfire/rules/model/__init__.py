"""The model rules."""

from __future__ import annotations

from hotfire.rules.engine import Rule

MODEL_RULES: tuple[Rule, ...] = ()
