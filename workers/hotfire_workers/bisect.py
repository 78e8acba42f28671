"""The search for the smallest set of DeepSpeed keys that makes the difference, by experiment (delta debugging).

The job at its own stage with nothing but what it cannot do without is the working config to start from. If that
trains, the keys between it and the job's config are halved until the smallest guilty set is left.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence
from typing import Any

from hotfire.patch import diff
from hotfire.rules.evidence import PatchOperation, Role, Trial
from hotfire.rules.zero.compare import compare
from hotfire_workers.job import patch_key
from hotfire_workers.tries import Bench, Tried

#: What the job cannot do without; of the precision sections only whether they are on.
_KEPT = (
    "train_batch_size",
    "train_micro_batch_size_per_gpu",
    "gradient_accumulation_steps",
    "gradient_clipping",
    "optimizer",
)
_PRECISIONS = ("fp16", "bf16", "bfloat16")
MAX_TRIALS = 16

Patch = list[PatchOperation]


class Bisection:
    """One search.

    Args:
        bench: Tries patches.
        reference: The run without DeepSpeed, which trains.
    """

    def __init__(self, bench: Bench, reference: Trial) -> None:
        self._bench = bench
        self._reference = reference
        self._tried: dict[str, Tried | None] = {}

    def run(self) -> Tried | None:
        """The trial of the smallest patch that was found, or None: no set of keys is guilty, or time ran out."""
        given = self._bench.job.given or {}
        whole = diff(given, minimal_config(given), "/deepspeed")
        if not whole or (cure := self._cure(whole)) is None:
            return None
        best = cure

        def cures(patch: Patch) -> bool:
            nonlocal best
            tried = self._cure(patch)
            if tried is not None:
                best = tried
            return tried is not None

        smallest(whole, cures)
        return best

    def _cure(self, patch: Patch) -> Tried | None:
        """The trial, if the job with this patch trains like the reference."""
        key = patch_key(patch)
        if key not in self._tried:
            self._tried[key] = None if len(self._tried) >= MAX_TRIALS else self._run(patch)
        return self._tried[key]

    def _run(self, patch: Patch) -> Tried | None:
        name = f"bisect-{len(self._tried) + 1}"
        tried = self._bench.try_patch(patch, role=Role.BISECT, name=name)
        if not tried.trains or tried.trial is None:
            return None
        return tried if compare(tried.trial, self._reference).agrees is not False else None


def minimal_config(given: dict[str, Any]) -> dict[str, Any]:
    """The least config of the same stage, precision, batch sizes, optimizer and clipping."""
    config = {key: copy.deepcopy(given[key]) for key in _KEPT if key in given}
    for name in _PRECISIONS:
        section = given.get(name)
        if isinstance(section, dict) and "enabled" in section:
            config[name] = {"enabled": section["enabled"]}
    zero = given.get("zero_optimization")
    if isinstance(zero, dict):
        config["zero_optimization"] = {"stage": zero.get("stage", 0)}
    return config


def smallest(whole: Sequence[PatchOperation], cures: Callable[[Patch], bool]) -> Patch:
    """The smallest part of a patch that still cures (ddmin, Zeller and Hildebrandt 2002): no operation of it can go.

    Args:
        whole: A patch that cures.
        cures: Tries a part.
    """
    current, parts = list(whole), 2
    while len(current) > 1:
        size = -(-len(current) // parts)
        chunks = [current[i : i + size] for i in range(0, len(current), size)]
        rests = [[o for o in current if o not in chunk] for chunk in chunks] if len(chunks) > 2 else []
        if (chunk := next((c for c in chunks if cures(c)), None)) is not None:
            current, parts = chunk, 2
        elif (rest := next((r for r in rests if cures(r)), None)) is not None:
            current, parts = rest, max(2, parts - 1)
        elif parts >= len(current):
            break
        else:
            parts = min(len(current), 2 * parts)
    return current
