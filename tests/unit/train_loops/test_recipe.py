from __future__ import annotations

import pytest
import torch

from hotfire_workers.train.loops.arguments import checkpointing, with_defaults
from hotfire_workers.train.loops.recipe import recipe_of
from hotfire_workers.train.loops.schedule import (
    client_schedule,
    config_schedule,
    peak_learning_rates,
    warmup_steps,
)

ARGUMENTS = with_defaults({"learning_rate": 2e-4, "weight_decay": 0.1, "warmup_steps": 10, "bf16": True})


def test_auto_is_filled_in_from_the_arguments() -> None:
    config = {
        "bf16": {"enabled": "auto"},
        "gradient_clipping": "auto",
        "optimizer": {"type": "Adam", "params": {"lr": "auto", "betas": "auto", "torch_adam": True}},
    }
    recipe = recipe_of(config, with_defaults({**ARGUMENTS, "max_grad_norm": 0.3}), 100, loop="TRAINER")
    assert (recipe.precision, recipe.clipping) == ("bf16", 0.3)
    assert recipe.optimizer_class is torch.optim.AdamW
    assert recipe.optimizer_kwargs == {"lr": 2e-4, "betas": (0.9, 0.999)}
    assert recipe.has_optimizer_section
    assert not recipe.has_scheduler_section


def test_an_absent_clipping_key_is_deepspeeds_default() -> None:
    assert recipe_of({}, with_defaults({"max_grad_norm": 0.1}), 100, loop="TRAINER").clipping == 1.0
    assert recipe_of({"gradient_clipping": 0}, ARGUMENTS, 100, loop="TRAINER").clipping == 0.0


@pytest.mark.parametrize(
    ("section", "expected"),
    [
        ({"type": "AdamW", "params": {"lr": 1e-3}}, torch.optim.AdamW),
        ({"type": "Adam", "params": {"adam_w_mode": False}}, torch.optim.Adam),
        ({"type": "SGD", "params": {"lr": 1e-2, "momentum": 0.9}}, torch.optim.SGD),
        ({"type": "Lion", "params": {"lr": 1e-4}}, torch.optim.AdamW),
        ({"type": "OneBitAdam", "params": {"freeze_step": 100}}, torch.optim.AdamW),
        ({"type": "AdamW", "params": "nonsense"}, torch.optim.AdamW),
    ],
)
def test_optimizer_section(section: dict, expected: type) -> None:
    recipe = recipe_of({"optimizer": section}, ARGUMENTS, 100, loop="TRAINER")
    assert recipe.optimizer_class is expected
    recipe.make_optimizer([torch.nn.Parameter(torch.zeros(2))])


def test_warmup_may_be_a_share() -> None:
    assert warmup_steps({"warmup_steps": 30}, 1000) == 30
    assert warmup_steps({"warmup_steps": 0.1}, 1000) == 100
    assert warmup_steps({"warmup_steps": 0, "warmup_ratio": 0.02}, 1000) == 20
    assert warmup_steps({}, 1000) == 0


@pytest.mark.parametrize("name", ["linear", "cosine", "constant", "constant_with_warmup", "inverse_sqrt"])
@pytest.mark.parametrize("total_steps", [20, 500_000])
def test_peak_of_client_schedules(name: str, total_steps: int) -> None:
    schedule = client_schedule(with_defaults({"lr_scheduler_type": name, "warmup_steps": 10}), total_steps)
    assert peak_learning_rates(schedule, [3e-4, 1e-5], total_steps) == pytest.approx([3e-4, 1e-5])


def test_a_warmup_longer_than_the_job_never_reaches_the_rate() -> None:
    schedule = client_schedule(with_defaults({"lr_scheduler_type": "linear", "warmup_steps": 1000}), 100)
    assert peak_learning_rates(schedule, [1.0], 100) == pytest.approx([0.099])


def test_peak_of_deepspeeds_schedules() -> None:
    params = {
        "warmup_min_lr": "auto",
        "warmup_max_lr": "auto",
        "warmup_num_steps": "auto",
        "total_num_steps": "auto",
    }
    decay = config_schedule({"type": "WarmupDecayLR", "params": params}, ARGUMENTS, 100)
    assert peak_learning_rates(decay, [1e-9], 100) == pytest.approx([2e-4], rel=0.02)
    cosine = config_schedule(
        {"type": "WarmupCosineLR", "params": {"total_num_steps": 5000, "warmup_num_steps": 5}},
        ARGUMENTS,
        5000,
    )
    assert peak_learning_rates(cosine, [3e-4], 5000) == pytest.approx([3e-4], rel=0.02)
    flat = config_schedule({"type": "WarmupLR", "params": {"warmup_max_lr": 0.0}}, ARGUMENTS, 100)
    assert peak_learning_rates(flat, [2e-4], 100) == [0.0]


def test_an_unknown_scheduler_names_the_known_ones() -> None:
    with pytest.raises(ValueError, match=r"scheduler\.type is 'CosineLR'; DeepSpeed knows .*WarmupDecayLR"):
        config_schedule({"type": "CosineLR"}, ARGUMENTS, 100)


def test_schedules_that_follow_an_evaluation_stay_constant() -> None:
    assert client_schedule(with_defaults({"lr_scheduler_type": "reduce_lr_on_plateau"}), 100) is None
    assert peak_learning_rates(None, [5e-5], 100) == [5e-5]


def test_both_names_of_checkpointing() -> None:
    kwargs = {"use_reentrant": True}
    assert checkpointing({}) == (False, None)
    assert checkpointing({"gradient_checkpointing": True, "gradient_checkpointing_kwargs": kwargs}) == (
        True,
        kwargs,
    )
    assert checkpointing({"activation_checkpointing": True}) == (True, None)
