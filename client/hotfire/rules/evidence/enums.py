"""The closed sets of the contract, without the wire's prefixes (`hotfire.wire` adds them)."""

from __future__ import annotations

from enum import StrEnum


class Severity(StrEnum):
    """How bad a finding is: ERROR makes the verdict FAIL, WARNING makes it WARN."""

    ERROR = "ERROR"
    WARNING = "WARNING"
    INFO = "INFO"


class Verdict(StrEnum):
    """Is the training healthy?"""

    PASS = "PASS"  # noqa: S105 - a verdict, not a password
    WARN = "WARN"
    FAIL = "FAIL"
    INCONCLUSIVE = "INCONCLUSIVE"


class Outcome(StrEnum):
    """What became of one rule. SKIPPED and ERROR never count as passed."""

    PASSED = "PASSED"
    FOUND = "FOUND"
    SKIPPED = "SKIPPED"
    ERROR = "ERROR"


class Verification(StrEnum):
    """Was the fix tried, and what did it do?"""

    VERIFIED = "VERIFIED"
    REFUTED = "REFUTED"
    NOT_TRIED = "NOT_TRIED"


class Role(StrEnum):
    """What a trial is for."""

    CANDIDATE = "CANDIDATE"
    REFERENCE = "REFERENCE"
    STAGE = "STAGE"
    BISECT = "BISECT"
    FIX = "FIX"
    DRILL = "DRILL"


class TrialOutcome(StrEnum):
    """How a trial ended. TRAINS: no ERROR of the run rules on that trial alone."""

    TRAINS = "TRAINS"
    DOES_NOT_TRAIN = "DOES_NOT_TRAIN"
    DIVERGES = "DIVERGES"
    CRASHED = "CRASHED"
    OUT_OF_MEMORY = "OUT_OF_MEMORY"
    HUNG = "HUNG"
    NOT_EXERCISED = "NOT_EXERCISED"


class Phase(StrEnum):
    """SCHEDULED: the schedule's own learning rate. PEAK: the schedule's highest one."""

    SCHEDULED = "SCHEDULED"
    PEAK = "PEAK"


class Guilty(StrEnum):
    """ZeRO's part in it."""

    NONE = "NONE"
    NOT_ZERO = "NOT_ZERO"
    STAGE = "STAGE"
    KEYS = "KEYS"
    VERSION = "VERSION"
    UNKNOWN = "UNKNOWN"
