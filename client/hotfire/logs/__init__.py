"""The log of a job that already ran, as evidence: `trainer_state.json`, JSON lines, or the text it printed.

    log = logs.read(Path("trainer_state.json"))
    trial = logs.as_trial(log)        # what the run rules look at

Only what stands in the log gets into the evidence; everything else stays unknown.
"""

from __future__ import annotations

from hotfire.logs.read import read
from hotfire.logs.records import JobLog, LogEntry
from hotfire.logs.trial import as_trial

__all__ = ["JobLog", "LogEntry", "as_trial", "read"]
