"""JSON lines of all ranks -> `Trial`."""

from __future__ import annotations

import contextlib
import json
from pathlib import Path
from typing import Any

from hotfire.rules.evidence import ParameterGroup, Role, Step, Trial, TrialError, TrialOutcome, TrialRequest
from hotfire_workers.runner import causes, steps
from hotfire_workers.runner.events import RankFile, RankState
from hotfire_workers.runner.records import from_dict
from hotfire_workers.runner.watch import Stop, StopKind

_NUM_LOG_LINES = 20
_FACTS_FIELDS = ("effective_config", "versions", "stage", "dtype", "zero_optimizer_class")


class Collector:
    """Follows a trial's files while it runs, and sums it up in the end.

    Args:
        request: The trial.
        run_dir: Its folder, if not the request's own.
    """

    def __init__(self, request: TrialRequest, run_dir: str | Path | None = None) -> None:
        self._request = request
        self._run_dir = Path(run_dir or request.run_dir)
        self._files = [
            RankFile(self._run_dir / "events" / f"rank{rank}.jsonl") for rank in range(request.num_ranks)
        ]  # fmt: skip
        self.ranks = [RankState(rank) for rank in range(request.num_ranks)]
        self._lines: dict[int, dict[int, dict[str, Any]]] = {}
        self._facts: dict[str, Any] = {}
        self._groups: list[ParameterGroup] = []

    def read(self) -> tuple[int, list[Step]]:
        """Read on.

        Returns:
            How many new lines there were, and the steps that have now been seen by every rank.
        """
        num_lines = 0
        finished = []
        for state, file in zip(self.ranks, self._files, strict=True):
            for event in file.read():
                num_lines += 1
                state.take(event)
                self._take(state.rank, event)
                if event["ev"] == "step" and len(self._lines[event["step"]]) == self._request.num_ranks:
                    finished.append(self._step(event["step"]))
        return num_lines, finished

    def _take(self, rank: int, event: dict[str, Any]) -> None:
        match event["ev"]:
            case "step":
                self._lines.setdefault(int(event["step"]), {})[rank] = event
            case "facts":
                nested = {**self._facts.get("facts", {}), **(event.get("facts") or {})}
                self._facts |= {k: event[k] for k in _FACTS_FIELDS if k in event} | {"facts": nested}
            case "groups":
                self._groups = [from_dict(ParameterGroup, group) for group in event.get("groups") or []]
            case "note":
                self._facts.setdefault("facts", {}).setdefault("notes", []).append(event.get("text"))

    def _step(self, number: int) -> Step:
        return steps.merge(number, self._lines[number], self._request.num_ranks)

    @property
    def failed(self) -> bool:
        """Some rank wrote an error line, or was found gone."""
        return any(state.errors or state.lost_t_ns for state in self.ranks)

    def look_for_lost_ranks(self) -> None:
        """Find ranks whose process is gone. Their last lines may still be unread: read once more."""
        if any(state.is_lost() for state in self.ranks):
            self.read()
            for state in self.ranks:
                if state.ended or state.errors:
                    state.lost_t_ns = None

    def trial(
        self,
        *,
        launcher: str,
        seconds: float | None = None,
        stop: Stop | None = None,
        oom_killed: bool | None = None,
    ) -> Trial:
        """Sum up.

        Args:
            launcher: "warm" or "cold".
            seconds: From request to result.
            stop: Why the runner ended the trial; None: it ended by itself.
            oom_killed: The kernel's out-of-memory killer struck meanwhile; None: not known.
        """
        self.read()
        completed = all(state.ended and not state.errors for state in self.ranks)
        cause = causes.Cause() if completed else self._cause(stop, oom_killed)
        if cause.error is not None:
            cause.error.log_tail = self._log_tail(cause.error.rank)
        phase_seconds: dict[str, float] = {}
        for state in self.ranks:
            for name, spent in state.phase_seconds.items():
                phase_seconds[name] = max(spent, phase_seconds.get(name, 0.0))
        facts = dict(self._facts.get("facts") or {})
        if num_bad := sum(file.num_bad_lines for file in self._files):
            facts["num_unreadable_lines"] = num_bad
        return Trial(
            name=self._request.name,
            role=Role(self._request.role),
            effective_config=self._facts.get("effective_config"),
            versions=dict(self._facts.get("versions") or {}),
            num_ranks=self._request.num_ranks,
            outcome=cause.outcome,
            reason=cause.reason,
            steps=[self._step(number) for number in sorted(self._lines)],
            groups=self._groups,
            phase_seconds=phase_seconds,
            peak_memory_bytes=max(
                (s.peak_memory_bytes for s in self.ranks if s.peak_memory_bytes is not None), default=None
            ),
            error=cause.error,
            launcher=launcher,
            stage=self._facts.get("stage"),
            loop=self._request.loop.lower(),
            dtype=self._facts.get("dtype") or "fp32",
            zero_optimizer_class=self._facts.get("zero_optimizer_class"),
            facts=facts,
            completed=completed,
            num_steps_aimed=self._request.num_steps,
            seconds=seconds,
        )

    def _cause(self, stop: Stop | None, oom_killed: bool | None) -> causes.Cause:
        if (
            stop is None
            or stop.kind is StopKind.FAILED
            or (self.failed and stop.kind is not StopKind.STOPPED)
        ):
            return causes.root_cause(self.ranks, self._agent(), children=self._exits(), oom_killed=oom_killed)
        if stop.kind is StopKind.HUNG:
            error = TrialError(type="Hung", message=stop.text, rank=stop.rank, phase=stop.phase)
            return causes.Cause(outcome=TrialOutcome.HUNG, error=error)
        return causes.Cause(outcome=TrialOutcome.NOT_EXERCISED, reason=stop.text)

    def _agent(self) -> dict[str, Any] | None:
        try:
            account = json.loads((self._run_dir / "agent.json").read_text())
        except (OSError, ValueError):
            return None
        return account if isinstance(account, dict) else None

    def _exits(self) -> list[dict[str, Any]]:
        """How the agent's children ended; a line that was cut off with the agent is left out."""
        found = []
        with contextlib.suppress(OSError):
            for line in (self._run_dir / "exits.jsonl").read_text().splitlines():
                with contextlib.suppress(ValueError):
                    found.append(json.loads(line))
        return found

    def _log_tail(self, rank: int | None) -> list[str]:
        """Last lines of the rank's standard error; of the agent's log when no rank is to blame."""
        path = self._run_dir / "agent.log"
        if rank is not None:
            path = next(self._run_dir.glob(f"logs/*/attempt_0/{rank}/stderr.log"), path)
        try:
            with path.open("rb") as log:
                log.seek(0, 2)
                log.seek(max(0, log.tell() - 16384))
                return log.read().decode(errors="replace").splitlines()[-_NUM_LOG_LINES:]
        except OSError:
            return []


def collect(run_dir: str | Path, request: TrialRequest, *, launcher: str = "warm") -> Trial:
    """The trial that lies in `run_dir`, as far as its files tell."""
    return Collector(request, run_dir).trial(launcher=launcher)
