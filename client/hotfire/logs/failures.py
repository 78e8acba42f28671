"""The failure at the end of a log: the first that is not the echo of another.

When one rank dies the others report lost connections, and the launcher reports that its children failed; both come
later and louder. `practice/warm_runner.md` has the same rule for the trials of a preflight.
"""

from __future__ import annotations

import re
from collections import deque
from dataclasses import dataclass, field

from hotfire.rules.evidence import TrialError

_TRACEBACK = "Traceback (most recent call last):"
_EXCEPTION = re.compile(
    r"^(?P<type>(?:[A-Za-z_]\w*\.)*[A-Z]\w*(?:Error|Exception|Interrupt|Exit|Warning|Failure))(?::\s*(?P<text>.*))?$"
)
_BARE = re.compile(r"^(?P<type>Exception|AssertionError)(?::\s*(?P<text>.*))?$")
#: What the launcher prints of a child: `exitcode  : -9 (pid: 123)`, `exits with return code = -9`.
_EXIT_CODE = re.compile(r"(?:exitcode\s*:|return code\s*=|exit code:?)\s*(?P<code>-?\d+)")
_SIGNAL = re.compile(r"Signal (?P<number>\d+) \((?P<name>SIG\w+)\)")
_WATCHDOG = re.compile(
    r"Watchdog caught collective operation timeout|collective operation timeout", re.IGNORECASE
)
_COLLECTIVE = re.compile(r"OpType=(?P<name>\w+)")
_VICTIM = re.compile(
    r"connection reset|connection closed|closed by peer|connection refused|broken pipe|remote process exited"
    r"|ncclRemoteError|socket timeout|watchdog|to avoid data inconsistency|Process group watchdog",
    re.IGNORECASE,
)
_LAUNCHERS = ("ChildFailedError", "CalledProcessError", "SubprocessError", "KeyboardInterrupt", "SystemExit")
_MAX_TAIL = 10
_MAX_TEXT = 2000


@dataclass(slots=True)
class FailureReader:
    """Is given every line of a log, in order."""

    root: TrialError | None = None
    victim: TrialError | None = None
    hang: TrialError | None = None
    killed: TrialError | None = None
    _open: dict[int | None, deque[str]] = field(default_factory=dict)
    """Rank -> the lines of the traceback that it is writing."""

    def line(self, text: str, rank: int | None) -> None:
        """One line, without its rank's prefix."""
        stripped = text.strip()
        if _TRACEBACK in stripped:
            self._open[rank] = deque(maxlen=_MAX_TAIL)
            return
        if rank in self._open:
            self._open[rank].append(text.rstrip()[:300])
            # The exception stands at the margin; the lines of the stack are indented.
            if text[:1] not in (" ", "\t") and self._exception(stripped, rank):
                del self._open[rank]
            return
        self._outside(stripped, rank)

    def error(self) -> TrialError | None:
        """The root cause, as far as the log has it."""
        return self.root or self.hang or self.killed or self.victim

    def _exception(self, text: str, rank: int | None) -> bool:
        match = _EXCEPTION.match(text) or _BARE.match(text)
        if match is None:
            return False
        kind = match["type"].rpartition(".")[2]
        found = TrialError(
            type=kind,
            message=(match["text"] or "")[:_MAX_TEXT],
            rank=rank,
            log_tail=list(self._open[rank]),
        )
        if kind in _LAUNCHERS:
            return True
        if _VICTIM.search(text):
            self.victim = self.victim or found
        else:
            self.root = self.root or found
        return True

    def _outside(self, text: str, rank: int | None) -> None:
        if self.hang is None and _WATCHDOG.search(text):
            named = _COLLECTIVE.search(text)
            waited = f" in {named['name']}" if named else ""
            self.hang = TrialError(
                type="Hung",
                message=f"NCCL's watchdog gave up waiting{waited}: another rank never came to that collective",
                rank=rank,
                log_tail=[text[:300]],
            )
        signal = _SIGNAL.search(text)
        code = _EXIT_CODE.search(text)
        number = -int(signal["number"]) if signal else int(code["code"]) if code else None
        if number is None or number >= 0 or number == -15 or self.killed is not None:
            return
        by = (
            signal["name"]
            if signal
            else {-9: "SIGKILL", -11: "SIGSEGV", -6: "SIGABRT", -7: "SIGBUS"}.get(number)
        )
        if number == -6 and self.hang is not None:
            return  # the watchdog's own abort
        self.killed = TrialError(
            type="Killed",
            message=f"a rank was ended by {by or f'signal {-number}'}"
            + (
                ", without a traceback: on a shared machine mostly the kernel's out-of-memory killer"
                if number == -9
                else ""
            ),
            rank=rank,
            exit_code=number,
            signal=by,
            log_tail=[text[:300]],
        )
