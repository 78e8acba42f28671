"""The cases of DeepSpeed's own tests of its config, as data: text, and whether DeepSpeed 0.19.8 refuses it on one rank.

From tests/unit/runtime/{test_ds_config_dict,test_ds_config_model,test_precision_config_loss_scale}.py,
runtime/half_precision, runtime/zero/{test_zero_config,test_zero_leaf_module}.py, runtime/zenflow, runtime/compile,
monitor/test_monitor.py, comm/test_dist.py, autotuning/test_autotuning.py; values changed to one rank.
"""

import json
from dataclasses import dataclass
from typing import Any

BATCH: dict[str, Any] = {"train_batch_size": 1}


@dataclass(frozen=True, slots=True)
class Case:
    """One config."""

    name: str
    text: str
    refused: bool
    key: str | None = None
    """The end of the pointer that the error has to have."""


def _case(name: str, refused: bool, key: str | None = None, **config: Any) -> Case:
    return Case(name, json.dumps({**BATCH, **config}), refused, key)


def _zero(name: str, refused: bool, key: str | None = None, **zero: Any) -> Case:
    return _case(name, refused, key, zero_optimization=zero)


def _batch(name: str, refused: bool, **sizes: int) -> Case:
    keys = {
        "train": "train_batch_size", "micro": "train_micro_batch_size_per_gpu", "gas": "gradient_accumulation_steps"
    }  # fmt: skip
    return Case(name, json.dumps({keys[k]: v for k, v in sizes.items()}), refused)


def _fp16(name: str, refused: bool, **fp16: Any) -> Case:
    return _case(
        name,
        refused,
        "/".join(("fp16", next(iter(fp16)))) if refused else None,
        fp16={"enabled": True, **fp16},
    )


_MONITOR = {"enabled": True, "output_path": "out/", "job_name": "test"}
_ZENFLOW = {"topk_ratio": 0.2, "update_interval": 4, "full_warm_up_rounds": 0, "overlap_step": True}

CASES: list[Case] = [
    # test_ds_config_dict.py: the batch triple; what hangs on the number of ranks is in test_batch_arithmetic.py.
    _batch("triple", False, train=32, micro=16, gas=2),
    _batch("triple that no rank count makes", True, train=33, micro=17, gas=2),
    _batch("train and micro", False, train=32, micro=16),
    _batch("train and accumulation", False, train=32, gas=2),
    _batch("train alone", False, train=32),
    _batch("micro alone", False, micro=4),
    _batch("micro and accumulation", False, micro=4, gas=2),
    _batch("zero batch", True, train=0),
    _batch("negative micro batch", True, micro=-1),
    # test_ds_config_model.py and test_ds_config_dict.py: reading.
    Case("duplicate key", '{"train_batch_size": 1, "train_batch_size": 2}', True, "train_batch_size"),
    Case(
        "duplicate key in a section",
        '{"train_batch_size": 1, "fp16": {"enabled": false, "enabled": true}}',
        True,
        "enabled",
    ),
    Case("hjson comment", '{\n// a comment\n"train_batch_size": 1}', False),
    Case("hjson trailing comma", '{"train_batch_size": 1,}', False),
    Case("broken", '{"train_batch_size": }', True),
    _case("unknown key at the top level", False, something_else=1),
    # zero/test_zero_config.py.
    _zero("empty zero section", False),
    _zero("stage 0", False, stage=0),
    _zero("stage 3", False, stage=3),
    _zero("stage 4", True, "stage", stage=4),
    _zero("stage -1", True, "stage", stage=-1),
    _zero("deprecated cpu_offload", False, stage=2, cpu_offload=True),
    _zero("deprecated cpu_offload false", False, stage=2, cpu_offload=False),
    _zero("deprecated cpu_offload_param", False, stage=3, cpu_offload_param=True),
    _zero(
        "deprecated and its successor", True, stage=2, cpu_offload=True, offload_optimizer={"device": "cpu"}
    ),
    _zero("deprecated pin memory", False, stage=2, cpu_offload_use_pin_memory=True),
    _zero("deprecated gather", False, stage=3, stage3_gather_fp16_weights_on_model_save=True),
    _zero("gather", False, stage=3, stage3_gather_16bit_weights_on_model_save=True),
    _zero("prefetch bucket by its name", False, stage=3, stage3_prefetch_bucket_size=12345),
    _zero("prefetch bucket by its field", False, stage=3, prefetch_bucket_size=12345),
    _zero("param persistence", False, stage=3, stage3_param_persistence_threshold=12345),
    _zero("max reuse distance", False, stage=3, stage3_max_reuse_distance=12345),
    _zero("a bucket as a whole float", False, stage=2, reduce_bucket_size=5e8),
    _zero("a bucket as text", True, "reduce_bucket_size", stage=2, reduce_bucket_size="5e8"),
    _zero("a bucket of half a byte", True, "reduce_bucket_size", stage=2, reduce_bucket_size=0.5),
    _zero("negative bucket", True, "allgather_bucket_size", stage=2, allgather_bucket_size=-1),
    _zero("unknown key in the section", True, "overlap_com", stage=2, overlap_com=True),
    _zero("offload off", False, stage=3, offload_param=None, offload_optimizer={}),
    _zero("offload optimizer", False, stage=2, offload_optimizer={"device": "cpu", "pin_memory": True}),
    _zero("offload pipeline", False, stage=3, offload_optimizer={"device": "nvme", "pipeline_read": True}),
    _zero("offload device", True, "device", stage=2, offload_optimizer={"device": "gpu"}),
    _zero("offload ratio", False, stage=3, offload_optimizer={"device": "cpu", "ratio": 0.3}),
    _zero(
        "offload ratio at stage 2", True, "ratio", stage=2, offload_optimizer={"device": "cpu", "ratio": 0.3}
    ),
    _zero("offload ratio over 1", True, "ratio", stage=3, offload_optimizer={"device": "cpu", "ratio": 1.5}),
    _zero("offload param below stage 3", False, stage=2, offload_param={"device": "cpu"}),
    _zero(
        "offload nvme",
        False,
        stage=3,
        offload_param={"device": "nvme", "nvme_path": "nvme", "buffer_count": 5},
    ),
    _zero("offload unknown key", True, "lazy", stage=3, offload_param={"device": "cpu", "lazy": True}),
    _zero("hpz", False, stage=3, zero_hpz_partition_size=2, zero_quantized_weights=True),
    _zero("mics", True, "mics_shard_size", stage=3, mics_shard_size=2),
    _zero("loco", True, "zeropp_loco_param", stage=3, zeropp_loco_param={"err_beta": 0.8}),
    _zero("auto is dropped", False, stage=2, reduce_bucket_size="auto", overlap_comm="auto"),
    # zero/test_zero_leaf_module.py.
    _zero(
        "leaf module", False, stage=3, leaf_module={"classes": ["A"], "names": ["b"], "name_suffixes": ["c"]}
    ),
    _zero("leaf module as text", False, stage=3, leaf_module={"classes": "A"}),
    _zero("leaf module unknown key", True, "klasses", stage=3, leaf_module={"klasses": ["A"]}),
    # zenflow.
    _zero("zenflow", False, stage=2, offload_optimizer={"device": "cpu"}, zenflow=_ZENFLOW),
    _zero("zenflow auto", False, stage=2, zenflow={"select_strategy": "auto", "update_interval": "auto"}),
    _zero("zenflow ratio", True, "topk_ratio", stage=2, zenflow={"topk_ratio": 1.2}),
    _zero("zenflow strategy", True, "select_strategy", stage=2, zenflow={"select_strategy": "layer"}),
    _zero("zenflow interval", True, "update_interval", stage=2, zenflow={"update_interval": 0}),
    # test_precision_config_loss_scale.py, half_precision.
    _fp16("dynamic loss scale", False, loss_scale=0),
    _fp16("static loss scale", False, loss_scale=138),
    _fp16("infinite loss scale", True, loss_scale=float("inf")),
    _fp16("undefined loss scale", True, loss_scale=float("nan")),
    _fp16("negative loss scale", True, loss_scale=-1),
    _fp16("loss scale as text", False, loss_scale="128"),
    _fp16("no loss scale window", True, loss_scale_window=0),
    _fp16("no minimum", True, min_loss_scale=0),
    _fp16("half a minimum", True, min_loss_scale=0.5),
    _fp16("scaler", False, initial_scale_power=8, loss_scale_window=2, hysteresis=1),
    _fp16("opt level", True, opt_level="O2"),
    _case(
        "fp16 master weights",
        False,
        fp16={"enabled": True, "fp16_master_weights_and_grads": True},
        zero_optimization={"stage": 2},
    ),
    _case(
        "fp16 master weights without zero",
        True,
        fp16={"enabled": True, "fp16_master_weights_and_grads": True},
    ),
    _case("bf16", False, bf16={"enabled": True}, zero_optimization={"stage": 2}),
    _case("bfloat16", False, bfloat16={"enabled": True}),
    _case("bf16 and fp16", True, bf16={"enabled": True}, fp16={"enabled": True}),
    _case("bf16 with a loss scale", True, "bf16/loss_scale", bf16={"enabled": True, "loss_scale": 0}),
    _case(
        "bf16 master weights",
        False,
        bf16={"enabled": True, "bf16_master_weights_and_grads": True},
        zero_optimization={"stage": 1},
    ),
    _case(
        "bf16 master weights without zero",
        True,
        bf16={"enabled": True, "bf16_master_weights_and_grads": True},
    ),
    _case(
        "bf16 states need bf16 weights",
        True,
        bf16={"enabled": True, "bf16_optimizer_states": True},
        zero_optimization={"stage": 2},
    ),
    _case("autocast", False, torch_autocast={"enabled": True, "dtype": "bfloat16"}),
    _case("amp", True, "amp", amp={"enabled": True, "opt_level": "O1"}),
    _case("grad accum dtype", False, data_types={"grad_accum_dtype": "fp32"}, bf16={"enabled": True}),
    # monitors, logger, profiler, checkpointing.
    _case("tensorboard", False, tensorboard=_MONITOR),
    _case("csv monitor", False, csv_monitor=_MONITOR),
    _case("wandb", False, wandb={"enabled": False, "team": "a", "project": "b", "group": "c"}),
    _case(
        "comet", False, comet={"enabled": False, "samples_log_interval": 7, "workspace": "w", "online": True}
    ),
    _case("empty monitors", False, tensorboard={}, wandb={}, csv_monitor={}, comet={}),
    _case("monitor unknown key", True, "path", tensorboard={"enabled": False, "path": "x"}),
    _case(
        "comms logger",
        False,
        comms_logger={"enabled": True, "verbose": False, "prof_all": True, "debug": False},
    ),
    _case("comms logger ops", False, comms_logger={"enabled": True, "prof_ops": ["all_reduce"]}),
    _case("comms logger wrong", True, "prof_ops", comms_logger={"enabled": True, "prof_ops": "all_reduce"}),
    _case(
        "flops profiler",
        False,
        flops_profiler={"enabled": True, "profile_step": 1, "module_depth": -1, "top_modules": 3},
    ),
    _case(
        "activation checkpointing",
        False,
        activation_checkpointing={"partition_activations": True, "number_checkpoints": 4},
    ),
    _case("checkpoint tag", False, checkpoint={"tag_validation": "Fail"}),
    _case("checkpoint tag unknown", True, "tag_validation", checkpoint={"tag_validation": "foo"}),
    _case("compile", False, compile={"deepcompile": True}),
    _case("compile backend", True, "backend", compile={"backend": "inductor"}),
    _case("compile passes", False, compile={"passes": ["z3"]}),
    _case("compile passes unknown", True, "passes", compile={"passes": ["z7"]}),
    _case(
        "hybrid engine", False, hybrid_engine={"enabled": True, "max_out_tokens": 512, "inference_tp_size": 1}
    ),
    _case("tensor parallel", False, tensor_parallel={"autotp_size": 1}),
    _case("timers", False, timers={"throughput": {"enabled": True, "synchronized": True}}),
    _case("timers unknown key", True, "synchronised", timers={"throughput": {"synchronised": True}}),
    _case("weight quantization", False, weight_quantization={"enabled": True, "post_init_quant": {}}),
    _case("autotuning", False, autotuning={"enabled": False, "fast": True, "metric": "throughput"}),
    _case("data efficiency", False, data_efficiency={"enabled": False, "seed": 1234}),
    # other keys of test_ds_initialize.py and the engine's tests.
    _case("optimizer", False, optimizer={"type": "AdamW", "params": {"lr": 1e-4}}),
    _case(
        "scheduler",
        False,
        scheduler={
            "type": "WarmupLR",
            "params": {"warmup_min_lr": 0, "warmup_max_lr": 1e-4, "warmup_num_steps": 10},
        },
    ),
    _case("clipping", False, gradient_clipping=1.0),
    _case("clipping off", False, gradient_clipping=0),
    _case("communication type", False, communication_data_type="fp32"),
    _case("communication type unknown", True, "communication_data_type", communication_data_type="fp7"),
    _case("sum at stage 2", False, gradient_allreduce_op="sum", zero_optimization={"stage": 2}),
    _case(
        "sum at stage 3",
        True,
        "gradient_allreduce_op",
        gradient_allreduce_op="sum",
        zero_optimization={"stage": 3},
    ),
    # removed features.
    _case("nebula", True, "nebula", nebula={"enabled": True}),
    _case("sparse gradients", True, "sparse_gradients", sparse_gradients=True),
    _case("elasticity", True, "elasticity", elasticity={"enabled": True, "max_train_batch_size": 2000}),
    _case("curriculum learning", True, "curriculum_learning", curriculum_learning={"enabled": True}),
    _case("progressive layer drop", True, "progressive_layer_drop", progressive_layer_drop={"enabled": True}),
    _case("compression", True, "compression_training", compression_training={}),
]
