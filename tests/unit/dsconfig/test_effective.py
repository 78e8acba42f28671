import copy

import pytest

from hotfire.dsconfig.effective import batch, precision, resolve, zero_stage

AUTO_CONFIG = {
    "train_batch_size": "auto",
    "train_micro_batch_size_per_gpu": "auto",
    "gradient_accumulation_steps": "auto",
    "gradient_clipping": "auto",
    "bf16": {"enabled": "auto"},
    "fp16": {"enabled": "auto", "loss_scale": 0},
    "optimizer": {
        "type": "AdamW",
        "params": {"lr": "auto", "betas": "auto", "eps": "auto", "weight_decay": "auto"},
    },
    "scheduler": {
        "type": "WarmupDecayLR",
        "params": {
            "warmup_min_lr": "auto",
            "warmup_max_lr": "auto",
            "warmup_num_steps": "auto",
            "total_num_steps": "auto",
        },
    },
    "zero_optimization": {
        "stage": 3,
        "reduce_bucket_size": "auto",
        "stage3_prefetch_bucket_size": "auto",
        "stage3_param_persistence_threshold": "auto",
    },
}
TRAINING = {
    "per_device_train_batch_size": 4,
    "gradient_accumulation_steps": 2,
    "learning_rate": 2e-4,
    "weight_decay": 0.1,
    "max_steps": 50,
    "warmup_steps": 0.1,
    "bf16": True,
}


def test_auto_becomes_what_the_hf_trainer_makes_of_it(monkeypatch):
    monkeypatch.setenv("ACCELERATE_USE_DEEPSPEED", "true")
    integration = pytest.importorskip("transformers.integrations.deepspeed")
    arguments = pytest.importorskip("transformers").TrainingArguments

    class Arguments:
        """The attributes that the integration reads, with the class's own arithmetic of warm-up."""

        world_size = 2
        max_grad_norm, adam_beta1, adam_beta2, adam_epsilon = 1.0, 0.9, 0.999, 1e-8
        save_on_each_node = fp16 = fp16_full_eval = bf16_full_eval = False
        get_warmup_steps = arguments.get_warmup_steps

    args = Arguments()
    for name, value in TRAINING.items():
        setattr(args, name, value)

    class Model:
        class config:  # noqa: N801 - the attribute of a model
            hidden_size = 64

    theirs = integration.HfTrainerDeepSpeedConfig(copy.deepcopy(AUTO_CONFIG))
    theirs.trainer_config_process(args)
    theirs.trainer_config_finalize(args, Model, 50)
    ours = resolve(
        AUTO_CONFIG, training=TRAINING, loop="TRAINER", model_config={"hidden_size": 64}, world_size=2
    )
    for key, value in theirs.config.items():
        if isinstance(value, dict):
            assert ours.config[key] == {**ours.config[key], **value}
        else:
            assert ours.config[key] == value
    assert ours.unresolved == []
    assert AUTO_CONFIG["bf16"]["enabled"] == "auto", "the given config is left as it is"


def test_without_a_resolver_autos_are_listed_and_dropped_as_deepspeed_does():
    given = {"train_batch_size": 8, "bf16": {"enabled": "auto"}, "optimizer": {"params": {"lr": "auto"}}}
    ours = resolve(given, training={"bf16": True}, loop="DEEPSPEED", model_config=None, world_size=2)
    assert ours.unresolved == ["/bf16/enabled", "/optimizer/params/lr"]
    assert precision(ours.config) == "fp32"
    assert ours.config["optimizer"]["params"]["lr"] == "auto"
    assert ours.config["train_micro_batch_size_per_gpu"] == 4


def test_with_an_unknown_loop_autos_are_resolved_and_listed():
    ours = resolve(AUTO_CONFIG, training=TRAINING, loop=None, model_config={"hidden_size": 8}, world_size=2)
    assert ours.config["bf16"]["enabled"] is True
    assert "/bf16/enabled" in ours.unresolved


def test_what_is_not_known_here_stays_auto_and_is_noted():
    ours = resolve(AUTO_CONFIG, training={}, loop="TRAINER", model_config=None, world_size=None)
    assert ours.config["zero_optimization"]["reduce_bucket_size"] == "auto"
    assert ours.config["train_batch_size"] == "auto"
    assert any("hidden_size" in note for note in ours.notes)
    assert ours.unresolved == []


def test_a_model_without_hidden_size_leaves_the_bucket_sizes_unresolved():
    ours = resolve(AUTO_CONFIG, training={}, loop="TRAINER", model_config={"model_type": "odd"}, world_size=1)
    assert "/zero_optimization/reduce_bucket_size" in ours.unresolved


def test_an_auto_that_the_trainer_does_not_know_is_unresolved():
    given = {"bfloat16": {"enabled": "auto"}, "zero_optimization": {"stage": 2, "overlap_comm": "auto"}}
    ours = resolve(given, training={"bf16": True}, loop="TRAINER", model_config=None, world_size=1)
    assert ours.unresolved == ["/bfloat16/enabled", "/zero_optimization/overlap_comm"]
    assert ours.config["zero_optimization"]["overlap_comm"] is False
    assert precision(ours.config) == "bf16", "accelerate adds the section that the arguments ask for"


def test_deprecated_names_and_defaults_agree_with_deepspeed():
    ours = resolve(
        {
            "train_batch_size": 4,
            "bfloat16": {"enabled": True},
            "zero_optimization": {
                "stage": 3,
                "cpu_offload": True,
                "stage3_gather_fp16_weights_on_model_save": True,
            },
        },
        training={},
        loop="DEEPSPEED",
        model_config=None,
        world_size=1,
    ).config
    assert precision(ours) == "bf16"
    assert zero_stage(ours) == 3
    assert ours["zero_optimization"]["offload_optimizer"] == {"device": "cpu"}
    zero_config = pytest.importorskip("deepspeed.runtime.zero.config")
    theirs = zero_config.DeepSpeedZeroConfig(
        stage=3, stage3_gather_16bit_weights_on_model_save=True
    ).model_dump(by_alias=True)
    for key, value in ours["zero_optimization"].items():
        if key != "offload_optimizer":
            assert theirs[key] == value, key


@pytest.mark.parametrize(
    ("given", "triple"),
    [
        ({"train_batch_size": 32, "train_micro_batch_size_per_gpu": 4}, (32, 4, 4)),
        ({"train_batch_size": 32, "gradient_accumulation_steps": 4}, (32, 4, 4)),
        ({"train_micro_batch_size_per_gpu": 3, "gradient_accumulation_steps": 2}, (12, 3, 2)),
        ({"train_batch_size": 32}, (32, 16, 1)),
        ({"train_micro_batch_size_per_gpu": 3}, (6, 3, 1)),
    ],
)
@pytest.mark.parametrize("loop", ["DEEPSPEED", None])
def test_batch_is_inferred_as_deepspeed_does(given, triple, loop):
    ours = batch(given, {}, loop, 2)
    assert (ours.train, ours.micro, ours.accumulation) == triple
    assert ours.problems == []


@pytest.mark.parametrize(
    ("given", "loop", "world_size", "words"),
    [
        ({"train_batch_size": 30, "train_micro_batch_size_per_gpu": 4}, "DEEPSPEED", 2, "= 24"),
        (
            {"train_batch_size": 30, "train_micro_batch_size_per_gpu": 4},
            "DEEPSPEED",
            None,
            "no number of ranks",
        ),
        # accelerate writes accumulation 1 first, so that nothing is inferred
        ({"train_batch_size": 32, "train_micro_batch_size_per_gpu": 4}, "TRAINER", 2, "= 8"),
        ({}, "DEEPSPEED", 2, "neither"),
        ({"train_batch_size": "auto"}, "DEEPSPEED", 2, "nothing resolves"),
        ({"train_batch_size": 0}, "DEEPSPEED", 2, "greater than 0"),
        ({"train_batch_size": "8"}, "DEEPSPEED", 2, "whole number"),
    ],
)
def test_batch_problems(given, loop, world_size, words):
    assert words in batch(given, {}, loop, world_size).problems[0]


@pytest.mark.parametrize("odd", ["x", 3, None, [], True, {"enabled": []}, {"stage": "three"}, float("nan")])
@pytest.mark.parametrize("loop", ["TRAINER", "DEEPSPEED", None])
def test_odd_types_are_left(odd, loop):
    keys = ("bf16", "fp16", "bfloat16", "zero_optimization", "optimizer", "scheduler", "train_batch_size")
    for given in ({key: odd} for key in keys):
        ours = resolve(given, training={}, loop=loop, model_config={"hidden_sizes": "x"}, world_size=2).config
        assert precision(ours) == "fp32"
        assert isinstance(zero_stage(ours), int)
