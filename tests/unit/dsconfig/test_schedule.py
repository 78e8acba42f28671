import pytest

from hotfire.dsconfig.effective import Batch
from hotfire.dsconfig.schedule import learning_rates, total_steps
from hotfire.rules.evidence import Cluster

TOTAL = 20


def optimizer(rate):
    torch = pytest.importorskip("torch")
    return torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=rate)


@pytest.mark.parametrize("warmup", [0, 1, 5])
@pytest.mark.parametrize(
    ("name", "kwargs"),
    [
        ("linear", {}),
        ("cosine", {}),
        ("cosine", {"num_cycles": 1.5}),
        ("constant", {}),
        ("constant_with_warmup", {}),
        ("polynomial", {"lr_end": 1e-6, "power": 2.0}),
        ("cosine_with_restarts", {"num_cycles": 2}),
        ("inverse_sqrt", {}),
        ("cosine_with_min_lr", {"min_lr": 1e-5}),
        ("cosine_with_min_lr", {"min_lr_rate": 0.1, "num_cycles": 1.5}),
        ("cosine_warmup_with_min_lr", {"min_lr_rate": 0.1}),
        ("cosine_warmup_with_min_lr", {"min_lr": 1e-5, "warmup_lr_rate": 0.2}),
        ("warmup_stable_decay", {"num_decay_steps": 6}),
        ("warmup_stable_decay", {"num_decay_steps": 6, "decay_type": "1-sqrt", "min_lr_ratio": 0.1}),
        (
            "warmup_stable_decay",
            {"num_decay_steps": 4, "num_stable_steps": 3, "warmup_type": "cosine", "decay_type": "linear"},
        ),
    ],
)
def test_trainer_curves_are_those_of_transformers(name, kwargs, warmup):
    transformers = pytest.importorskip("transformers")
    theirs = optimizer(1e-3)
    scheduler = transformers.get_scheduler(name, theirs, warmup, TOTAL, kwargs)
    training = {
        "learning_rate": 1e-3,
        "lr_scheduler_type": name,
        "lr_scheduler_kwargs": kwargs,
        "warmup_steps": float(warmup),
    }
    ours = learning_rates({}, training, TOTAL)
    rates = []
    for step in range(TOTAL + 2):
        rates.append(theirs.param_groups[0]["lr"])
        assert ours.rate(step) == pytest.approx(rates[-1], abs=1e-15)
        theirs.step()
        scheduler.step()
    assert ours.peak == pytest.approx(max(rates))
    assert ours.rate(ours.peak_step) == ours.peak


@pytest.mark.parametrize(
    ("kind", "params"),
    [
        ("WarmupLR", {"warmup_max_lr": 2e-3, "warmup_num_steps": 5}),
        ("WarmupLR", {"warmup_num_steps": 1, "warmup_type": "linear"}),
        ("WarmupDecayLR", {"total_num_steps": TOTAL, "warmup_num_steps": 5, "warmup_min_lr": 1e-5}),
        ("WarmupDecayLR", {"total_num_steps": 4, "warmup_num_steps": 8, "warmup_type": "linear"}),
        ("WarmupCosineLR", {"total_num_steps": TOTAL, "warmup_num_steps": 5, "warmup_min_ratio": 0.1}),
        ("WarmupCosineLR", {"total_num_steps": TOTAL, "warmup_num_steps": 5, "warmup_type": "linear"}),
        ("OneCycle", {"cycle_min_lr": 1e-4, "cycle_max_lr": 1e-3, "cycle_first_step_size": 6}),
        (
            "OneCycle",
            {
                "cycle_min_lr": 1e-4,
                "cycle_max_lr": 1e-3,
                "cycle_first_step_size": 4,
                "cycle_second_step_size": 8,
                "cycle_first_stair_count": 2,
                "decay_step_size": 2,
                "decay_lr_rate": 0.5,
            },
        ),
        ("LRRangeTest", {"lr_range_test_min_lr": 1e-5, "lr_range_test_step_size": 3}),
        ("LRRangeTest", {"lr_range_test_step_size": 3, "lr_range_test_staircase": True}),
    ],
)
def test_deepspeed_curves_are_those_of_deepspeed(kind, params):
    schedules = pytest.importorskip("deepspeed.runtime.lr_schedules")
    theirs = optimizer(1e-3)
    scheduler = getattr(schedules, kind)(theirs, **params)
    config = {
        "optimizer": {"type": "Adam", "params": {"lr": 1e-3}},
        "scheduler": {"type": kind, "params": params},
    }
    ours = learning_rates(config, {"loop": "DEEPSPEED"}, TOTAL)
    rates = []
    for step in range(TOTAL + 3):
        rates.append(theirs.param_groups[0]["lr"])
        assert ours.rate(step) == pytest.approx(rates[-1], abs=1e-15), step
        theirs.step()
        scheduler.step()
    if params.get("total_num_steps") != 4:
        assert ours.peak == pytest.approx(max(rates[:TOTAL]))
    assert ours.source == f"deepspeed:{kind}"


def test_auto_lengths_come_from_the_job():
    params = {"warmup_num_steps": "auto", "total_num_steps": "auto", "warmup_max_lr": "auto"}
    config = {"scheduler": {"type": "WarmupDecayLR", "params": params}}
    ours = learning_rates(config, {"warmup_ratio": 0.1, "learning_rate": 1e-4}, 100)
    assert ours.warmup_steps == 10
    assert ours.peak == pytest.approx(1e-4)
    assert ours.rate(101) == 0.0


def test_a_bare_deepspeed_loop_keeps_the_optimizers_rate():
    config = {"optimizer": {"type": "Adam", "params": {"lr": 3e-4}}}
    ours = learning_rates(config, {"loop": "DEEPSPEED"}, None)
    assert (ours.rate(0), ours.rate(1000), ours.source) == (3e-4, 3e-4, "optimizer")


@pytest.mark.parametrize(
    ("config", "training", "total"),
    [
        ({"scheduler": {"type": "OneCycle", "params": {}}}, {}, 10),
        ({}, {"lr_scheduler_type": "greedy"}, 10),
        ({}, {"lr_scheduler_type": "linear"}, None),
        ({}, {"lr_scheduler_type": "constant_with_warmup", "warmup_ratio": 0.1}, None),
        ({"scheduler": {"type": "WarmupLR", "params": {"warmup_num_steps": "ten"}}}, {}, 10),
        ({"optimizer": {"type": "Adam", "params": {"lr": "1e-4"}}}, {}, 10),
    ],
)
def test_no_curve_is_made_up(config, training, total):
    assert learning_rates(config, training, total) is None


def test_total_steps_as_the_trainer_counts():
    cluster, triple = Cluster(num_train_rows=103), Batch(train=16, micro=4, accumulation=2)
    assert total_steps({"max_steps": 7}, cluster, triple) == 7
    assert total_steps({}, cluster, triple) == 21  # 13 micro batches of 8, 7 steps an epoch
    assert total_steps({"num_train_epochs": 0.5, "max_steps": -1}, cluster, triple) == 4
    assert total_steps({}, Cluster(), triple) is None
    assert total_steps({}, cluster, Batch()) is None
