"""What is changed so that a job runs on a slot, and what is said of it."""

from __future__ import annotations

from scripted import CONFIG, TRAINING, spec

from hotfire_workers.adapt import adapt, num_ranks_of
from hotfire_workers.environment import emulated_words
from hotfire_workers.job import job_of
from hotfire_workers.slots import Slot

CPU = Slot(max_ranks=4, memory_bytes=2**33)
GPU = Slot(
    device_type="cuda",
    device="H100",
    gpus=("GPU-1",),
    max_ranks=1,
    memory_bytes=2**33,
    gpu_memory_bytes=2**36,
)


def adapted(tmp_path, slot=CPU, **changes):
    return adapt(job_of(spec(tmp_path, **changes)), slot)


def paths(result):
    return {a.path: (a.before, a.after) for a in result.adaptations}


def test_a_config_that_fits_is_left_alone(tmp_path):
    result = adapted(tmp_path)
    assert result.config == CONFIG
    assert not result.adaptations
    assert (result.num_ranks, result.micro_batch_size, result.gradient_accumulation_steps) == (2, 2, 2)
    assert (result.dtype, result.stage, result.emulate_fp16) == ("bf16", 2, False)


def test_a_literal_batch_size_keeps_micro_batch_and_accumulation(tmp_path):
    config = {k: v for k, v in CONFIG.items() if k != "gradient_accumulation_steps"} | {
        "train_batch_size": 512
    }
    result = adapted(tmp_path, deepspeed=config, training={"loop": "deepspeed"}, cluster={"num_gpus": 64})
    assert (result.micro_batch_size, result.gradient_accumulation_steps) == (2, 4)
    assert result.config["train_batch_size"] == 2 * 4 * 2
    assert paths(result) == {"/deepspeed/train_batch_size": (512, 16)}


def test_auto_is_left_to_whoever_resolves_it(tmp_path):
    config = CONFIG | {"train_batch_size": "auto", "train_micro_batch_size_per_gpu": "auto"}
    result = adapted(tmp_path, deepspeed=config)
    assert result.config["train_batch_size"] == "auto"
    assert not result.adaptations


def test_attention_for_gpus_is_the_default_on_a_cpu(tmp_path):
    for name in ("flash_attention_2", "kernels-community/flash-attn3", "flex_attention"):
        result = adapted(tmp_path, training=TRAINING | {"attn_implementation": name})
        assert "attn_implementation" not in result.training
        assert paths(result) == {"/training/attn_implementation": (name, None)}
        on_gpu = adapted(tmp_path, slot=GPU, training=TRAINING | {"attn_implementation": name})
        assert on_gpu.training["attn_implementation"] == name
    for name in ("sdpa", "eager"):
        result = adapted(tmp_path, training=TRAINING | {"attn_implementation": name})
        assert result.training["attn_implementation"] == name
        assert not result.adaptations


def test_what_opens_files_or_sockets_is_taken_out_and_said(tmp_path):
    config = CONFIG | {"tensorboard": {"enabled": True, "output_path": "/etc"}}
    result = adapted(tmp_path, deepspeed=config)
    assert "tensorboard" not in result.config
    assert "/deepspeed/tensorboard" in paths(result)


def test_groups_of_ranks_are_not_larger_than_the_world(tmp_path):
    zero = {"stage": 3, "zero_hpz_partition_size": 8, "zero_quantized_weights": True}
    result = adapted(tmp_path, deepspeed=CONFIG | {"zero_optimization": zero})
    assert paths(result) == {
        "/deepspeed/zero_optimization/zero_hpz_partition_size": (8, 2),
        "/deepspeed/zero_optimization/zero_quantized_weights": (True, False),
    }
    assert zero["zero_hpz_partition_size"] == 8


def test_ranks_beyond_the_slot_are_left_out_and_said(tmp_path):
    job = job_of(spec(tmp_path, plan={"num_ranks": 16}))
    assert num_ranks_of(job.evidence.plan, CPU) == 4
    assert paths(adapt(job, CPU))["/plan/num_ranks"] == (16, 4)
    assert num_ranks_of(job.evidence.plan, GPU) == 1
    assert num_ranks_of(None, GPU) == 1
    assert num_ranks_of(None, CPU) == 2


def test_fp16_is_emulated_on_a_cpu_only(tmp_path):
    config = {k: v for k, v in CONFIG.items() if k != "bf16"} | {"fp16": {"enabled": True}}
    training = {k: v for k, v in TRAINING.items() if k != "bf16"} | {"fp16": True}
    assert adapted(tmp_path, deepspeed=config, training=training).emulate_fp16
    assert not adapted(tmp_path, GPU, deepspeed=config, training=training).emulate_fp16


def test_what_is_emulated_is_said(tmp_path):
    job = job_of(spec(tmp_path, cluster={"num_gpus": 64, "gpu_type": "A100"}))
    words = emulated_words(adapt(job, CPU), job, CPU)
    assert "A100" in words[0]
    assert words[1] == "2 ranks instead of 64."
    assert emulated_words(adapt(job, GPU), job, GPU) == ["1 ranks instead of 64."]
