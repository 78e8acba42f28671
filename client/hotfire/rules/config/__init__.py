"""The config rules."""

from __future__ import annotations

from hotfire.rules.engine import Rule

CONFIG_RULES: tuple[Rule, ...] = ()
