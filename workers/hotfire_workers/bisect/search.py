"""The search: a config that works is found at the submitted stage, then the keys between are halved by trials.

Sections first, then the keys of the guilty sections, then what stands inside of keys that are objects. Then the
other side: does what the cure changes break the working config by itself, or only together with other keys?
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from hotfire.rules.evidence import Role, Search
from hotfire_workers.bisect.differences import (
    Patch,
    all_keys,
    by_section,
    differences,
    finer,
    with_mirrors,
    without,
    working_configs,
)
from hotfire_workers.bisect.minimal_set import minimal_set
from hotfire_workers.tries import Bench, Tried

_NO_WORKING_CONFIG = "no config was found that trains at the submitted stage"


@dataclass(kw_only=True, slots=True)
class Found:
    """What a search came to."""

    search: Search
    tried: Tried | None = None
    """The trial of the smallest patch that cures; None: there is no such patch."""


class Bisection:
    """One search.

    Args:
        bench: Tries patches; has the job.
        max_trials: Trials that it may make.
    """

    def __init__(self, bench: Bench, *, max_trials: int) -> None:
        self._bench = bench
        self._document = bench.job.evidence.spec
        self._max_trials = max_trials
        self._before = self._num_trials_on_the_stand()
        self._stopped: str | None = None

    def run(self, cure: Tried | None = None) -> Found | None:
        """Searches.

        Args:
            cure: A change of a single key that is known to cure; only what belongs to it is looked for then.

        Returns:
            None where the submitted config has no key to look at.

        Raises:
            Stopped: The sink wanted an end.
            RunnerError: The runner failed.
        """
        plan = self._bench.job.evidence.plan
        seen_keys = 0
        for name, config in working_configs(self._document, plan.reference_deepspeed if plan else None):
            changes, idle = differences(self._document, config)
            if not changes:
                continue
            seen_keys = max(seen_keys, len(all_keys(self._document, changes)))
            if self._cure(changes) is not None:
                return self._between(name, changes, idle, cure)
            if self._stopped is not None:
                break
        if not seen_keys:
            return None
        why = self._stopped or _NO_WORKING_CONFIG
        return Found(search=self._summary("none", seen_keys, stopped=why))

    def _between(self, name: str, changes: Patch, idle: list[str], cure: Tried | None) -> Found:
        if cure is not None:
            tried: Tried | None = cure
            smallest = [o for o in cure.patch if o.path.startswith("/deepspeed/")]
        else:
            smallest = self._smallest(changes)
            tried = self._cure(smallest)
        partners = self._partners(changes, smallest)
        guilty = all_keys(self._document, [*smallest, *partners])
        keys = all_keys(self._document, changes)
        acquitted = [] if self._stopped else [*idle, *(key for key in keys if key not in guilty)]
        search = self._summary(name, len(keys) + len(idle), stopped=self._stopped, acquitted=acquitted)
        search.guilty = guilty
        return Found(search=search, tried=tried)

    def _partners(self, changes: Patch, cure: Patch) -> Patch:
        """Changes that must not be made either, for the job to break: keys that are guilty only with the cure's.

        Returns:
            None of them where the working config breaks with the submitted values of the cure's keys alone.
        """
        others = without(self._document, changes, cure)
        if not others or not self._breaks(others):
            # Alone it breaks nothing (or that could not be tried): look for what it needs, if anything does.
            return [] if not others or self._stopped else self._needed_to_break(others)
        return []

    def _needed_to_break(self, others: Patch) -> Patch:
        def breaks(kept: Sequence[Patch]) -> bool:
            restored = [operation.path for operation in _flat(kept)]
            return self._breaks([o for o in others if o.path not in restored])

        found = _flat(minimal_set(by_section(others), breaks))
        found = _flat(minimal_set([[operation] for operation in found], breaks))
        # All of them are the submitted config itself, which is known to break: no smaller set was seen to.
        return found if len(found) < len(others) or len(others) == 1 else []

    def _breaks(self, changes: Patch) -> bool:
        """The job with these changes was run, and does not train like the reference."""
        if not changes:
            return True
        tried = self._try(changes)
        return tried is not None and tried.was_run and not tried.cures_zero

    def _smallest(self, changes: Patch) -> Patch:
        changes = _flat(minimal_set(by_section(changes), self._works))
        while True:
            changes = _flat(minimal_set([[operation] for operation in changes], self._works))
            inside = finer(self._document, changes)
            if inside is None or self._cure(inside) is None:
                return changes
            changes = inside

    def _works(self, parts: Sequence[Patch]) -> bool:
        return self._cure(_flat(parts)) is not None

    def _cure(self, changes: Patch) -> Tried | None:
        """The trial, if the job with these changes trains, and like the reference."""
        tried = self._try(changes)
        return tried if tried is not None and tried.cures_zero else None

    def _try(self, changes: Patch) -> Tried | None:
        patch = with_mirrors(self._document, changes)
        if (tried := self._bench.known(patch)) is None:
            made = self._num_made()
            if made >= self._max_trials:
                self._stopped = f"{self._max_trials} trials were made, which is the limit here"
                return None
            tried = self._bench.try_patch(patch, role=Role.BISECT, name=f"bisect-{made + 1}")
            if self._bench.stand.budget.is_short:
                self._stopped = "the time budget was spent"
        return tried

    def _num_trials_on_the_stand(self) -> int:
        return sum(t.role is Role.BISECT and not t.repeats for t in self._bench.stand.trials)

    def _num_made(self) -> int:
        return self._num_trials_on_the_stand() - self._before

    def _summary(
        self, working: str, num_keys: int, *, stopped: str | None, acquitted: list[str] | None = None
    ) -> Search:
        return Search(
            working=working,
            num_keys=num_keys,
            num_trials=self._num_made(),
            acquitted=acquitted or [],
            stopped=stopped,
        )


def _flat(parts: Sequence[Patch]) -> Patch:
    return [operation for part in parts for operation in part]
