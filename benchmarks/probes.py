"""What the probes cost: seconds per step with them over seconds per step without."""

from __future__ import annotations

import math
import statistics
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, field

from benchmarks.bed import LOOPS, Bed, bed, spec_of
from benchmarks.figures import alternate, heading, load, spread, table
from hotfire.rules.evidence import TrialRequest

EXAMPLE = "smollm2-real"
_STAGES, _QUICK_STAGES = (0, 1, 2, 3), (2,)
_LAYERS, _QUICK_LAYERS = 6, 2
_MAX_ROUNDS, _QUICK_ROUNDS = 8, 1
_BUDGET_S = 480.0
_AIM = 1.03
_HEAD = (
    *("loop", "ZeRO", "steps", "without: s [min, max]", "with: s [min, max]"),
    *("medians", "usual", "moving", "means", "minima", "medians pair by pair", "noise"),
)


@dataclass(kw_only=True)
class _Case:
    """One loop at one stage; a list of step times for each trial."""

    loop: str
    stage: int
    request: TrialRequest
    moving: set[int] = field(default_factory=set)
    """Steps, past the first, at which a probed trial also measures how far the weights moved."""
    trials: dict[bool, list[list[float]]] = field(default_factory=lambda: {False: [], True: []})

    def steps(self, *, probes: bool, moving: bool | None = None) -> list[float]:
        """Of all trials together; only those that measure movement (or do so with probes), or the others."""
        return [
            seconds
            for trial in self.trials[probes]
            for position, seconds in enumerate(trial)
            if moving is None or (position in self.moving) is moving
        ]

    def ratio(self, reduce: Callable[[list[float]], float], *, moving: bool | None = None) -> float:
        """With probes over without."""
        bare, probed = (self.steps(probes=probes, moving=moving) for probes in (False, True))
        return reduce(probed) / reduce(bare) if bare and probed else math.nan

    @property
    def pairs(self) -> list[float]:
        """Ratio of the trials' medians, pair by pair: the two of a pair ran one after the other."""
        both = zip(self.trials[False], self.trials[True], strict=True)
        return [statistics.median(probed) / statistics.median(bare) for bare, probed in both]

    @property
    def noise(self) -> str:
        """The slowest unprobed trial over the fastest one: what the machine does to the same thing."""
        medians = [statistics.median(trial) for trial in self.trials[False]]
        return f"{max(medians) / min(medians):.2f}" if len(medians) > 1 else "not known"


def main(*, quick: bool) -> None:
    heading("probes: step time with probes over step time without")
    layers = _QUICK_LAYERS if quick else _LAYERS
    stages = _QUICK_STAGES if quick else _STAGES
    with bed(EXAMPLE) as place:
        cases, model = _cases(place, layers, stages)
        began = time.monotonic()
        rounds = _rounds(place, cases, _QUICK_ROUNDS if quick else _MAX_ROUNDS)
        seconds = time.monotonic() - began
        ranks, device = place.slot.default_ranks, place.slot.device
    request, moves = cases[0].request, len(cases[0].moving)
    print(f"   {EXAMPLE}: {model}; bf16, {ranks} ranks on {device}, {request.micro_batch_size} rows each")
    print(
        f"   a trial: {request.num_steps} steps, {request.num_peak_steps} of them at the peak, as in a preflight; "
        f"the first is dropped;\n"
        f"   of the {request.num_steps - 1} left {moves} also measure how far the weights moved"
    )
    print(
        f"   {rounds} rounds in {seconds:.0f} s (no round is begun that would end after {_BUDGET_S:.0f} s), "
        f"each: every case once without and once with probes, the order changing from round to round"
    )
    table(_HEAD, [_row(case) for case in cases])
    ratios = [case.ratio(statistics.median) for case in cases]
    within = sum(ratio <= _AIM for ratio in ratios)
    print(
        f"   ratio of medians over all cases: {spread(ratios, 3)}; {within} of {len(ratios)} within the aim of "
        f"{_AIM:g}"
    )
    print(
        "   All columns from medians on, but the last, are ratios with/without. medians, means, minima: of all steps;\n"
        "   usual, moving: medians of the steps that do not, and do, also measure how far the weights moved;\n"
        "   noise: the slowest over the fastest unprobed trial of the same case.\n"
        "   A ratio is worth no more than its noise allows."
    )
    print(f"   {load()} at the end")


def _cases(place: Bed, layers: int, stages: tuple[int, ...]) -> tuple[list[_Case], str]:
    cases, model = [], ""
    for loop in LOOPS:
        for stage in stages:
            spec = spec_of(EXAMPLE, loop=loop, stage=stage, num_layers=layers)
            prepared, request = place.job(spec)
            cases.append(_Case(loop=loop, stage=stage, request=request))
            if facts := prepared.facts:
                million = (facts.num_parameters or 0) / 1e6
                shown = f"the first {facts.num_layers_run} of {facts.num_layers} layers"
                model = f"{shown} ({million:.0f} M parameters in full)"
    return cases, model


def _rounds(place: Bed, cases: list[_Case], most: int) -> int:
    """Runs rounds until there are enough or the time is over; returns how many."""
    runner = place.service.runner()
    began = time.monotonic()
    for number in range(most):
        for case in cases:
            # From case to case the order changes, too.
            for _, probes in alternate((False, True), [number + case.stage]):
                case.request.probes = probes
                steps = place.run(runner, case.request).steps[1:]
                case.trials[probes].append([s.step_seconds for s in steps if s.step_seconds is not None])
                case.moving |= {i for i, s in enumerate(steps) if s.update_ratio is not None}
        spent = time.monotonic() - began
        print(f"   round {number + 1}: {spent:.0f} s", file=sys.stderr, flush=True)
        if spent + spent / (number + 1) > _BUDGET_S:
            return number + 1
    return most


def _row(case: _Case) -> tuple[str, ...]:
    bare, probed = case.steps(probes=False), case.steps(probes=True)
    ratios = [
        case.ratio(statistics.median),
        case.ratio(statistics.median, moving=False),
        case.ratio(statistics.median, moving=True),
        case.ratio(statistics.mean),
        case.ratio(min),
    ]
    return (
        case.loop,
        str(case.stage),
        f"{len(bare)}+{len(probed)}",
        spread(bare, 3),
        spread(probed, 3),
        *(f"{ratio:.3f}" for ratio in ratios),
        spread(case.pairs, 3),
        case.noise,
    )
