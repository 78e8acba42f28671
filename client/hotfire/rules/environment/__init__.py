"""The environment rules: what ran here, and what that leaves open."""

from __future__ import annotations

from hotfire.rules.engine import Rule
from hotfire.rules.environment.budget_spent import BudgetSpent
from hotfire.rules.environment.emulated_device import EmulatedDevice
from hotfire.rules.environment.stale_extension_lock import StaleExtensionLock
from hotfire.rules.environment.version_mismatch import VersionMismatch

ENVIRONMENT_RULES: tuple[Rule, ...] = (
    VersionMismatch(),
    StaleExtensionLock(),
    EmulatedDevice(),
    BudgetSpent(),
)
