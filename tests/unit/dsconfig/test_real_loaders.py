"""Which "auto" values the HF Trainer and accelerate replace, against both where they are installed."""

import copy
from types import SimpleNamespace

import pytest

from hotfire.dsconfig import autos

integration = pytest.importorskip("transformers.integrations.deepspeed")
accelerate = pytest.importorskip("accelerate.utils")
pytest.importorskip("deepspeed")

HIDDEN = 64
BASE = {
    "zero_optimization": {"stage": 2},
    "train_micro_batch_size_per_gpu": 2,
    "gradient_accumulation_steps": 2,
}
POINTERS = [
    *sorted(autos.TRAINER),
    "/bfloat16/enabled",
    "/zero_optimization/overlap_comm",
    "/zero_optimization/stage3_max_live_parameters",
    "/zero_optimization/zenflow/select_strategy",
    "/optimizer/params/momentum",
    "/fp16/loss_scale",
    "/steps_per_print",
]


def with_auto(pointer):
    config = copy.deepcopy(BASE)
    node = config
    *sections, name = pointer.split("/")[1:]
    for section in sections:
        node = node.setdefault(section, {})
    node[name] = "auto"
    return config


def finish(plugin):
    """What `Accelerator._prepare_deepspeed` hands over for a dataloader, a DummyOptim and a DummyScheduler."""
    plugin.set_mixed_precision("bf16")
    zero = "zero_optimization."
    plugin.deepspeed_config_process(
        must_match=False,
        **{
            "gradient_clipping": 1.0,
            "train_micro_batch_size_per_gpu": 2,
            "train_batch_size": 8,
            "gradient_accumulation_steps": 2,
            zero + "stage3_gather_16bit_weights_on_model_save": False,
            zero + "reduce_bucket_size": HIDDEN**2,
            zero + "stage3_prefetch_bucket_size": int(0.9 * HIDDEN**2),
            zero + "stage3_param_persistence_threshold": 10 * HIDDEN,
            "optimizer.params.lr": 1e-4,
            "optimizer.params.weight_decay": 0.0,
            "scheduler.params.warmup_min_lr": 0,
            "scheduler.params.warmup_max_lr": 1e-4,
            "scheduler.params.warmup_num_steps": 1,
            "scheduler.params.total_num_steps": 10,
        },
    )


@pytest.mark.parametrize("pointer", POINTERS)
def test_the_trainer(pointer, monkeypatch):
    monkeypatch.setenv("ACCELERATE_USE_DEEPSPEED", "true")
    arguments = SimpleNamespace(
        world_size=2,
        per_device_train_batch_size=2,
        gradient_accumulation_steps=2,
        max_grad_norm=1.0,
        learning_rate=1e-4,
        adam_beta1=0.9,
        adam_beta2=0.999,
        adam_epsilon=1e-8,
        weight_decay=0.0,
        save_on_each_node=False,
        fp16=False,
        bf16=True,
        fp16_full_eval=False,
        bf16_full_eval=False,
        get_warmup_steps=lambda _: 0,
    )
    config = with_auto(pointer)

    def load():
        loader = integration.HfTrainerDeepSpeedConfig(copy.deepcopy(config))
        loader.trainer_config_process(arguments)
        plugin = accelerate.DeepSpeedPlugin(hf_ds_config=loader)
        loader.trainer_config_finalize(
            arguments, SimpleNamespace(config=SimpleNamespace(hidden_size=HIDDEN)), 10
        )
        finish(plugin)

    agree(load, config, "TRAINER", pointer)


@pytest.mark.parametrize("pointer", POINTERS)
def test_accelerate(pointer):
    config = with_auto(pointer)
    agree(
        lambda: finish(accelerate.DeepSpeedPlugin(hf_ds_config=copy.deepcopy(config))),
        config,
        "ACCELERATE",
        pointer,
    )


def agree(load, config, loop, pointer):
    left = autos.unresolved(config, loop, hidden_size_known=True)
    if left:
        assert left == [pointer]
        with pytest.raises(ValueError, match="not found in kwargs"):
            load()
    else:
        load()
