"""The memory forecast: what it must always hold, and figures that are known."""

from __future__ import annotations

import dataclasses

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hotfire.dsconfig.memory import Forecaster
from hotfire.dsconfig.memory_model import decoder_of
from hotfire.dsconfig.memory_setting import Setting, setting_of
from hotfire.dsconfig.memory_trainable import trained
from hotfire.dsconfig.states import Placement, state_bytes, states_of

GIB = 2**30
LLAMA_7B = {
    "model_type": "llama", "vocab_size": 32000, "hidden_size": 4096, "intermediate_size": 11008,
    "num_hidden_layers": 32, "num_attention_heads": 32, "num_key_value_heads": 32,
}  # fmt: skip
MIXTRAL = LLAMA_7B | {
    "model_type": "mixtral", "intermediate_size": 14336, "num_key_value_heads": 8, "num_local_experts": 8,
    "num_experts_per_tok": 2,
}  # fmt: skip


def forecaster(config=LLAMA_7B, *, available=None, training=None, **changes):
    model = decoder_of(config)
    setting = Setting(placement=Placement(stage=2), world_size=8, ranks_per_node=8, length=2048)
    return Forecaster(
        model=model,
        trained=trained(model, training or {}),
        setting=dataclasses.replace(setting, **changes),
        available_bytes=available,
    )


PLACEMENTS = st.sampled_from([
    Placement(stage=s, offload=o)
    for s, o in ((0, None), (1, None), (2, None), (3, None), (1, "optimizer"), (2, "optimizer"), (3, "optimizer"),
                 (3, "optimizer+param"), (3, "param"))
])  # fmt: skip
SETTINGS = st.builds(
    Setting,
    placement=PLACEMENTS,
    dtype=st.sampled_from(["fp32", "bf16", "fp16"]),
    world_size=st.integers(1, 512),
    micro_batch_size=st.integers(1, 32),
    accumulation=st.integers(1, 4),
    length=st.integers(1, 16_384),
    checkpointing=st.booleans(),
    attention=st.sampled_from(["eager", "sdpa", "flash"]),
    moment_bytes=st.sampled_from([0.1, 2.04, 4.0, 8.0]),
    step_bytes=st.sampled_from([0.0, 8.0]),
    gradient_bytes=st.sampled_from([2, 4]),
    reduce_bucket=st.integers(1, 10**9),
    prefetch_bucket=st.integers(0, 10**9),
    max_live=st.integers(0, 10**10),
    sub_group=st.integers(1, 10**12),
    secondary=st.sampled_from([1, 8]),
    overlaps=st.booleans(),
    contiguous=st.booleans(),
    fused_loss=st.booleans(),
)
CONFIGS = st.builds(
    lambda layers, wide, groups, kind: {
        "model_type": kind, "vocab_size": 32000, "hidden_size": 128 * wide, "intermediate_size": 352 * wide,
        "num_hidden_layers": layers, "num_attention_heads": 8, "num_key_value_heads": groups,
        "num_experts": 8, "num_experts_per_tok": 2, "moe_intermediate_size": 64 * wide,
        "shared_expert_intermediate_size": 64 * wide,
    },
    st.integers(1, 80), st.integers(1, 64), st.sampled_from([1, 2, 8]),
    st.sampled_from(["llama", "qwen3", "gemma2", "glm4", "qwen2_moe", "gpt_neox"]),
)  # fmt: skip
ADAPTERS = st.sampled_from([{}, {"peft": {"r": 16, "target_modules": "all-linear"}}, {"frozen": ["embed"]}])


def build(config, training, setting, **changes):
    model = decoder_of(config)
    return Forecaster(
        model=model, trained=trained(model, training), setting=dataclasses.replace(setting, **changes)
    )


@settings(max_examples=150, deadline=None)
@given(CONFIGS, ADAPTERS, SETTINGS, st.integers(1, 8))
def test_more_layers_tokens_or_rows_never_take_less(config, training, setting, more):
    base = build(config, training, setting).at()
    larger = [
        build(config | {"num_hidden_layers": config["num_hidden_layers"] + more}, training, setting).at(),
        build(config, training, setting, length=setting.length + 64 * more).at(),
        build(config, training, setting, micro_batch_size=setting.micro_batch_size + more).at(),
    ]
    for other in larger:
        assert other.total_bytes >= base.total_bytes
        assert other.low_bytes >= base.low_bytes
        assert other.high_bytes >= base.high_bytes


@settings(max_examples=150, deadline=None)
@given(CONFIGS, ADAPTERS, SETTINGS)
def test_the_band_holds_the_figure_and_every_part_is_at_least_nothing(config, training, setting):
    result = build(config, training, setting).at()
    assert 0 <= result.low_bytes <= result.total_bytes <= result.high_bytes
    assert min(result.states_bytes, result.activations_bytes, result.buffers_bytes) >= 0


@settings(max_examples=150, deadline=None)
@given(
    st.integers(10**6, 10**12), st.floats(0.0001, 1), SETTINGS,
)  # fmt: skip
def test_a_higher_stage_never_has_more_states(num_parameters, share, setting):
    def at(stage):
        placed = dataclasses.replace(setting, placement=Placement(stage=stage), secondary=1)
        return states_of(
            placed, num_parameters=num_parameters, num_trainable=int(num_parameters * share)
        ).total

    # In fp32 alone stage 0 has no second copy of the weights: with one rank stage 1 takes more.
    assert at(3) <= at(2) <= at(1)
    if setting.dtype != "fp32" or setting.world_size > 1:
        assert at(1) <= at(0) + (4 * num_parameters * share / setting.world_size) * (setting.dtype == "fp32")


@settings(max_examples=100, deadline=None)
@given(CONFIGS, SETTINGS)
def test_offload_checkpointing_and_an_adapter_save(config, setting):
    plain = dataclasses.replace(setting, placement=Placement(stage=3), secondary=1)
    least = build(config, {}, plain).at().states_bytes
    for offload in ("optimizer", "optimizer+param"):
        placed = dataclasses.replace(plain, placement=Placement(stage=3, offload=offload))
        assert build(config, {}, placed).at().states_bytes <= least
        least = build(config, {}, placed).at().states_bytes
    full = build(config, {}, setting, checkpointing=False).at().activations_bytes
    layers = config["num_hidden_layers"]
    if layers > 1:
        assert build(config, {}, setting, checkpointing=True).at().activations_bytes <= full
    adapter = build(config, {"peft": {"r": 4, "target_modules": ["q_proj", "query_key_value"]}}, setting)
    assert adapter.trained.trainable < adapter.trained.total / 2


# --- Known figures ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("stage", "per_parameter"),
    [(0, 16), (1, 4 + 12 / 64), (2, 2 + 14 / 64), (3, 16 / 64)],
)
def test_states_are_those_of_the_zero_paper(stage, per_parameter):
    """Figure 1 of the paper: 7.5 B parameters on 64 GPUs: 120, 31.4, 16.6 and 1.9 GB."""
    found = state_bytes(
        Placement(stage=stage), num_parameters=7_500_000_000, num_trainable=7_500_000_000, world_size=64,
        dtype="bf16",
    )  # fmt: skip
    assert found == pytest.approx(per_parameter * 7.5e9, rel=1e-6)
    assert found / 1e9 == pytest.approx({0: 120, 1: 31.4, 2: 16.6, 3: 1.9}[stage], abs=0.06)


def test_activations_of_a_llama_layer_are_the_saved_tensors():
    """By hand, bf16: 2 norms of (4 + 2 + 2) h, q k v and output of 2 h each, 4 inner widths of 2 bytes."""
    one = forecaster(attention="flash")
    h, inner, heads = 4096, 11008, 32
    layer = 2 * 8 * h + 4 * 2 * h + 4 * 2 * inner + 4 * heads
    outside = 8 * h + 2 * (3 * inner + 3 * h) + 32000 * 14
    assert one.at().activations_bytes == pytest.approx(2048 * (32 * layer + outside))


def test_checkpointing_keeps_an_input_of_each_layer_and_one_layer():
    full, saved = forecaster(), forecaster(checkpointing=True)
    assert saved.at().activations_bytes < full.at().activations_bytes / 5
    inputs = 2048 * 32 * 4096 * 2
    assert saved.at().activations_bytes > inputs


def test_eager_attention_grows_with_the_square_of_the_length():
    short, long = (forecaster(attention="eager", length=n).at().activations_bytes for n in (1024, 8192))
    assert long > 30 * short
    assert forecaster(attention="flash", length=8192).at().activations_bytes < long / 4


def test_the_largest_micro_batch_fits_and_one_more_does_not():
    one = forecaster(available=80 * GIB, checkpointing=True)
    most = one.largest_micro_batch()
    assert most > 1
    assert one.at(dataclasses.replace(one.setting, micro_batch_size=most)).fits
    assert not one.at(dataclasses.replace(one.setting, micro_batch_size=most + 1)).fits
    assert forecaster(available=20 * GIB).largest_micro_batch() == 0
    assert forecaster().largest_micro_batch() is None
    assert forecaster(available=80 * GIB, length=None).largest_micro_batch() is None


def test_experts_count_by_those_that_a_token_visits():
    """46.7 B weights, but the activations of two experts."""
    sparse, dense = forecaster(MIXTRAL), forecaster(MIXTRAL | {"model_type": "mistral"})
    assert sparse.trained.total / 1e9 == pytest.approx(46.7, abs=0.05)
    assert sparse.at().activations_bytes < 3 * dense.at().activations_bytes


def test_a_cpu_optimizer_needs_about_18_bytes_a_parameter_on_the_host():
    one = forecaster(placement=Placement(stage=2, offload="optimizer"))
    assert one.host.offload == pytest.approx(18 * one.trained.total)
    both = forecaster(placement=Placement(stage=3, offload="optimizer+param"))
    assert both.host.offload == pytest.approx(20 * both.trained.total)
    assert both.host.low <= both.host.expected <= both.host.high


def test_eight_ranks_load_eight_copies_below_stage_3():
    each = forecaster().host.loading
    assert each == pytest.approx(8 * 2 * 6.738e9, rel=0.01)
    assert forecaster(placement=Placement(stage=3)).host.loading < each / 2


def test_a_report_compares_every_stage_and_what_was_submitted():
    submitted = Placement(stage=3, offload="param")
    report = forecaster(placement=submitted, available=80 * GIB).report()
    assert [(s.stage, s.offload) for s in report.stages] == [
        (0, "none"), (1, "none"), (2, "none"), (2, "optimizer"), (3, "none"), (3, "param"), (3, "optimizer"),
        (3, "optimizer+param"),
    ]  # fmt: skip
    for stage in report.stages:
        assert stage.fits is (stage.total_bytes <= 80 * GIB)


# --- Reading a job ----------------------------------------------------------------------------------------


def read(config=None, training=None, **more):
    return setting_of(config or {}, training or {}, **({"num_gpus": 8} | more))


def test_a_job_is_read_with_the_defaults_of_deepspeed():
    zero = {"stage": 3, "offload_optimizer": {"device": "nvme", "ratio": 0.5}, "reduce_bucket_size": 1e6,
            "zero_hpz_partition_size": 8, "overlap_comm": False}  # fmt: skip
    found = read(
        {"zero_optimization": zero, "bf16": {"enabled": True}, "train_micro_batch_size_per_gpu": 4},
        {"max_length": 1024, "packing": True, "gradient_checkpointing": True,
         "attn_implementation": "flash_attention_2", "optim": "adamw_bnb_8bit", "use_liger_kernel": True},
        num_gpus=16,
        num_nodes=2,
    )  # fmt: skip
    assert (found.stage, found.placement.offload, found.is_nvme, found.offload_ratio) == (
        3,
        "optimizer",
        True,
        0.5,
    )
    assert (found.reduce_bucket, found.secondary, found.overlaps, found.ranks_per_node) == (
        10**6,
        8,
        False,
        8,
    )
    assert (found.length, found.low_length, found.attention, found.micro_batch_size) == (
        1024,
        1024,
        "flash",
        4,
    )
    assert (found.moment_bytes, found.checkpointing, found.fused_loss, found.dtype) == (
        2.04,
        True,
        True,
        "bf16",
    )
    assert (read().reduce_bucket, read().max_live, read().moment_bytes) == (500_000_000, 10**9, 8.0)


@pytest.mark.parametrize(
    ("optimizer", "optim", "expected"),
    [
        (None, "sgd", 0.0),
        ({"type": "SGD", "params": {"momentum": 0.9}}, None, 4.0),
        ({"type": "AdamW"}, "adamw_bnb_8bit", 8.0),
        (None, "paged_lion_8bit", 1.02),
        (None, "adafactor", 0.1),
        ({"type": "Lion"}, None, 4),
    ],
)
def test_the_optimizer_decides_about_its_states(optimizer, optim, expected):
    config = {"optimizer": optimizer} if optimizer else {}
    assert read(config, {"optim": optim} if optim else {}).moment_bytes == expected


def test_a_length_that_is_only_a_limit_leaves_room_below():
    assert (read({}, {"max_length": 1000}).length, read({}, {"max_length": 1000}).low_length) == (1000, 500)
    known = read({}, {"max_length": 1000}, longest_row=120)
    assert (known.length, known.low_length) == (1000, 120)
    assert (read().length, read(longest_row=70).length) == (None, 70)


def test_copies_in_16_bits_are_half_as_large():
    section = {"enabled": True, "bf16_master_weights_and_grads": True, "bf16_optimizer_states": True}
    found = read({"bf16": section, "zero_optimization": {"stage": 2}})
    assert (found.master_bytes, found.moment_bytes) == (2, 4.0)
    assert (read({"bf16": {"enabled": True}}).master_bytes, read().gradient_bytes) == (4, 4)
