"""The list of registered rules. Add yours here."""

from __future__ import annotations

from hotfire.rules.config import CONFIG_RULES
from hotfire.rules.data import DATA_RULES
from hotfire.rules.engine import Rule
from hotfire.rules.environment import ENVIRONMENT_RULES
from hotfire.rules.model import MODEL_RULES
from hotfire.rules.run import RUN_RULES
from hotfire.rules.zero import ZERO_RULES

RULES: tuple[Rule, ...] = tuple(
    sorted(
        (*CONFIG_RULES, *MODEL_RULES, *DATA_RULES, *RUN_RULES, *ZERO_RULES, *ENVIRONMENT_RULES),
        key=lambda rule: rule.id,
    )
)
