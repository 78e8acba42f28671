"""The curve over the whole job: against DeepSpeed's and transformers' own schedulers, step by step."""

import math
import random
from typing import Any

import pytest

from hotfire.dsconfig.schedule import Schedule, learning_rates
from hotfire.dsconfig.schedule_faults import of_deepspeed, of_trainer
from hotfire.dsconfig.schedule_survey import samples, survey
from hotfire.dsconfig.versions import KNOWN, parse

CHOICES: dict[str, dict[str, list[Any]]] = {
    "Warmup": {"warmup_num_steps": [1, 2, 5, 40], "warmup_type": ["log", "linear", "Linear"]},
    "WarmupLR": {"warmup_min_lr": [0, 1e-5], "warmup_max_lr": [0, 2e-3]},
    "WarmupDecayLR": {"warmup_max_lr": [0, 2e-3], "total_num_steps": [1, 5, 20, 100]},
    "WarmupCosineLR": {
        "warmup_min_ratio": [0, 0.1],
        "cos_min_ratio": [0, 0.5],
        "total_num_steps": [1, 5, 40],
    },
    "OneCycle": {
        "cycle_min_lr": [1e-5],
        "cycle_max_lr": [1e-2],
        "cycle_first_step_size": [0, 1, 7, 100],
        "cycle_second_step_size": [-1, 0, 4],
        "cycle_first_stair_count": [0, 3],
        "decay_step_size": [0, 2],
        "decay_lr_rate": [0.5],
    },
    "LRRangeTest": {"lr_range_test_step_size": [1, 3], "lr_range_test_staircase": [True, False]},
}
RATE = 1e-3


def optimizer() -> Any:
    torch = pytest.importorskip("torch")
    return torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=RATE)


def drawn(source: random.Random, kind: str) -> dict[str, Any]:
    choices = {**(CHOICES["Warmup"] if kind.startswith("Warmup") else {}), **CHOICES[kind]}
    return {name: source.choice(values) for name, values in choices.items() if source.random() < 0.75}


def ran(make: Any, steps: int) -> tuple[list[float], int | None]:
    """Rates of the real scheduler, and the step after which it failed (0: it could not be made)."""
    rates: list[float] = []
    theirs = optimizer()
    try:
        scheduler = make(theirs)
        for _ in range(steps):
            rates.append(theirs.param_groups[0]["lr"])
            theirs.step()
            scheduler.step()
    except (ValueError, TypeError, ZeroDivisionError, UnboundLocalError):
        return rates, len(rates)
    return rates, None


def agrees(ours: Schedule, rates: list[float], steps: int) -> None:
    assert [ours.rate(step) for step in range(steps)] == pytest.approx(rates, abs=1e-15)
    seen = survey(ours, steps)
    assert seen.highest == pytest.approx(max(rates))
    assert seen.last == pytest.approx(rates[-1], abs=1e-15)


@pytest.mark.parametrize("kind", [kind for kind in CHOICES if kind != "Warmup"])
def test_deepspeeds_schedulers_with_any_numbers(kind: str) -> None:
    schedules = pytest.importorskip("deepspeed.runtime.lr_schedules")
    version = pytest.importorskip("deepspeed").__version__.split("+")[0]
    source = random.Random(kind)
    for _ in range(150):
        params, steps = drawn(source, kind), source.choice([1, 2, 5, 12, 60])
        rates, failed = ran(lambda it, params=params: getattr(schedules, kind)(it, **params), steps)
        refused = [f for f in of_deepspeed({"type": kind, "params": params}, parse(version)) if f.refused]
        section = {"optimizer": {"params": {"lr": RATE}}, "scheduler": {"type": kind, "params": params}}
        ours = learning_rates(section, {"loop": "DEEPSPEED"}, steps, version=version)
        if failed is not None:
            assert refused or (ours is not None and ours.fails_at == failed), params
            continue
        assert refused == [], params
        assert ours is not None, params
        agrees(ours, rates, steps)


KWARGS: dict[str, list[dict[str, Any]]] = {
    "linear": [{}],
    "cosine": [{}, {"num_cycles": 2}, {"cycles": 1}],
    "cosine_with_restarts": [{}, {"num_cycles": 3}],
    "polynomial": [{}, {"power": 3.0}, {"lr_end": 1e-2}],
    "constant": [{}],
    "constant_with_warmup": [{}],
    "inverse_sqrt": [{}, {"timescale": 10}],
    "cosine_with_min_lr": [{}, {"min_lr": 1e-5}, {"min_lr": 1e-5, "min_lr_rate": 0.1}],
    "cosine_warmup_with_min_lr": [{"min_lr_rate": 0.1, "warmup_lr_rate": 0.3}],
    "warmup_stable_decay": [{}, {"num_decay_steps": 3}, {"num_decay_steps": 3, "decay_type": "square"}],
}


@pytest.mark.parametrize("name", sorted(KWARGS))
@pytest.mark.parametrize("warmup", [0, 1, 4, 12, 50])
def test_the_trainers_schedulers_with_any_numbers(name: str, warmup: int) -> None:
    transformers = pytest.importorskip("transformers")
    for kwargs in KWARGS[name]:
        for steps in (1, 5, 12, 50):
            training = {
                "learning_rate": RATE,
                "lr_scheduler_type": name,
                "lr_scheduler_kwargs": kwargs,
                "warmup_steps": float(warmup),
            }
            rates, failed = ran(
                lambda it, kwargs=kwargs, steps=steps: transformers.get_scheduler(
                    name, it, warmup, steps, kwargs
                ),
                steps,
            )
            refused = list(of_trainer(training, RATE))
            ours = learning_rates({}, training, steps)
            if failed is not None:
                assert refused or (ours is not None and ours.fails_at == failed), (kwargs, steps)
                continue
            assert refused == [], (kwargs, steps)
            assert ours is not None, (kwargs, steps)
            agrees(ours, rates, steps)


def test_a_long_job_is_looked_at_without_every_step() -> None:
    training = {"loop": "DEEPSPEED"}
    params = {"warmup_num_steps": 1234, "warmup_max_lr": 1e-3, "total_num_steps": 700_001}
    ours = learning_rates({"scheduler": {"type": "WarmupDecayLR", "params": params}}, training, 1_000_000)
    assert ours is not None
    calls = 0
    rate = ours.rate

    def counted(step: int) -> float:
        nonlocal calls
        calls += 1
        return rate(step)

    ours.rate = counted
    seen = survey(ours, 1_000_000)
    assert calls < 1000
    assert (seen.highest, seen.highest_step) == (1e-3, 1234)
    # The curve lags one step, and its last 140 are below 2e-4 of the maximum.
    assert seen.num_zero_at_end == pytest.approx(1_000_000 - 700_001, rel=1e-3)


def test_samples_have_both_ends() -> None:
    ours = learning_rates({}, {"learning_rate": RATE}, 100)
    assert ours is not None
    drawn = samples(ours, 100, 7)
    assert [step for step, _ in drawn] == [0, 16, 33, 50, 66, 82, 99]
    assert drawn[0] == (0, RATE)
    assert samples(ours, 1, 7) == [(0, RATE)]


def test_a_rate_that_is_no_number_is_told() -> None:
    ours = Schedule(
        rate=lambda step: math.nan if step == 3 else 1.0, peak=1.0, peak_step=0, warmup_steps=0, source="x"
    )
    assert survey(ours, 10).non_finite_step == 3


def test_the_newest_known_version_is_the_one_compared() -> None:
    deepspeed = pytest.importorskip("deepspeed")
    assert parse(deepspeed.__version__) <= parse(KNOWN)
