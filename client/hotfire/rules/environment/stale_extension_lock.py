"""E103 stale-extension-lock."""

from __future__ import annotations

from collections.abc import Iterable

from hotfire.rules.engine import Rule
from hotfire.rules.evidence import Evidence, Finding, Fix, Severity


class StaleExtensionLock(Rule):
    """A leftover lock file in the torch extension directory: every rank would wait for ever.

    Why:
        torch builds C++ extensions under a file called `lock`. A build that was killed leaves it behind, and
        every later process waits for it without a word and without a timeout.

    Example:
        `~/.cache/torch_extensions/py311_cpu/deepspeed_shm_comm/lock`, three days old, and no build running.

    Fix:
        Remove the file. `hotfire doctor` finds it.

    Source:
        torch.utils.cpp_extension, FileBaton; seen twice while this was built.
    """

    id = "E103"
    name = "stale-extension-lock"
    severity = Severity.ERROR
    needs = ("environment",)

    def examine(self, evidence: Evidence) -> Iterable[Finding]:
        """ERROR in the user's own environment; a WARNING where the worker's is at fault, not the job."""
        environment = evidence.environment
        assert environment is not None
        if environment.extension_lock is None:
            return
        of_worker = environment.pool is not None or evidence.trials is not None
        lowered = " It is this worker's, no fault of the job: lowered to a warning." if of_worker else ""
        yield Finding(
            message="A leftover lock in the torch extension directory makes every rank wait for ever: "
            f"{environment.extension_lock}.{lowered}",
            severity=Severity.WARNING if of_worker else Severity.ERROR,
            evidence={"lock": environment.extension_lock},
            fix=Fix(description="Remove the lock file, when no build is running."),
        )
