"""Time per trial, from request to result: forked from the warm process against a cold torchrun."""

from __future__ import annotations

import statistics

from benchmarks.bed import LOOPS, Bed, bed, spec_of
from benchmarks.figures import alternate, heading, load, spread, table
from hotfire.rules.evidence import Trial
from hotfire_workers.runner.base import Runner

EXAMPLE, STAGE = "glm4-healthy", 2
_REPEATS, _QUICK_REPEATS = 5, 2
_AIM = 6.0


def main(*, quick: bool) -> None:
    loops = LOOPS[:1] if quick else LOOPS
    repeats = _QUICK_REPEATS if quick else _REPEATS
    heading("warm: seconds per trial, warm fork against cold torchrun")
    with bed(EXAMPLE) as place:
        trials = {loop: _measure(place, loop, repeats) for loop in loops}
        ranks, device, warm_up_s = place.slot.default_ranks, place.slot.device, place.warm_up_s
    print(
        f"   {EXAMPLE} (tiny GLM, random weights), ZeRO-{STAGE}, bf16, {ranks} ranks on {device}, 8 steps of 2 "
        f"micro-batches;\n   {repeats} trials each, warm and cold in turn; the warm process itself was ready after "
        f"{warm_up_s:.1f} s, once per worker slot"
    )
    table(
        ("loop", "seconds of", "warm [min, max]", "cold [min, max]", "cold/warm of medians", "pair by pair"),
        [row for loop, both in trials.items() for row in _rows(loop, both)],
    )
    print(
        f"   the aim is a whole trial's ratio of {_AIM:g} or more; its training steps cost the same either way"
    )
    print(f"   {load()} at the end")


def _measure(place: Bed, loop: str, repeats: int) -> dict[str, list[Trial]]:
    _, request = place.job(spec_of(EXAMPLE, loop=loop, stage=STAGE))
    runners: dict[str, Runner] = {"warm": place.service.runner(), "cold": place.service.cold_runner()}
    trials: dict[str, list[Trial]] = {"warm": [], "cold": []}
    for _, launcher in alternate(("warm", "cold"), range(repeats)):
        trials[launcher].append(place.run(runners[launcher], request, launcher=launcher))
    return trials


def _rows(loop: str, trials: dict[str, list[Trial]]) -> list[tuple[str, ...]]:
    whole = {launcher: [t.seconds or 0.0 for t in each] for launcher, each in trials.items()}
    steps = {launcher: [t.phase_seconds.get("steps", 0.0) for t in each] for launcher, each in trials.items()}
    rest = {name: [a - b for a, b in zip(whole[name], steps[name], strict=True)] for name in whole}
    return [
        _row(loop, "a whole trial", whole),
        _row("", "its steps", steps),
        _row("", "all but its steps", rest),
    ]


def _row(loop: str, what: str, seconds: dict[str, list[float]]) -> tuple[str, ...]:
    warm, cold = seconds["warm"], seconds["cold"]
    ratio = statistics.median(cold) / statistics.median(warm)
    pairs = [c / w for w, c in zip(warm, cold, strict=True)]
    return loop, what, spread(warm), spread(cold), f"{ratio:.1f}", spread(pairs, 1)
