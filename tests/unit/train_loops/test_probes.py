from __future__ import annotations

import math

import pytest
import torch
from torch import nn

from hotfire_workers.train.probes.gradients import Parameters, measure_gradients
from hotfire_workers.train.probes.groups import GroupProbe, group_of
from hotfire_workers.train.probes.layout import layout_of, plain_layout
from hotfire_workers.train.probes.loss import count_supervised, count_tokens, total_supervised
from hotfire_workers.train.probes.memory import MemoryProbe
from hotfire_workers.train.probes.modules import first_non_finite_module
from hotfire_workers.train.probes.ranks import non_finite_parameters
from hotfire_workers.train.probes.silent import SilenceProbe
from hotfire_workers.train.probes.updates import UpdateProbe

CPU = torch.device("cpu")


@pytest.mark.parametrize(
    ("name", "group"),
    [
        ("model.embed_tokens.weight", "embedding"),
        ("transformer.wte.weight", "embedding"),
        ("transformer.embedding.word_embeddings.weight", "embedding"),
        ("lm_head.weight", "head"),
        ("transformer.output_layer.weight", "head"),
        ("base_model.model.lm_head.modules_to_save.default.weight", "head"),
        ("model.layers.0.self_attn.q_proj.weight", "attention"),
        ("model.layers.0.self_attn.q_proj.bias", "attention"),
        ("transformer.encoder.layers.0.self_attention.query_key_value.weight", "attention"),
        ("model.layers.0.mlp.gate_up_proj.weight", "mlp"),
        ("model.layers.3.mlp.experts.7.down_proj.weight", "mlp"),
        ("model.layers.0.input_layernorm.weight", "norm"),
        ("model.layers.0.post_attention_layernorm.weight", "norm"),
        ("model.layers.0.self_attn.q_norm.weight", "norm"),
        ("model.norm.weight", "norm"),
        ("transformer.h.0.ln_1.bias", "norm"),
        ("base_model.model.model.layers.0.self_attn.q_proj.lora_A.default.weight", "lora_a"),
        ("base_model.model.model.layers.0.self_attn.q_proj.lora_B.default.weight", "lora_b"),
        ("base_model.model.model.embed_tokens.lora_embedding_A.default", "lora_a"),
        ("some.vision.patch.weight", "other"),
    ],
)
def test_group_of(name: str, group: str) -> None:
    assert group_of(name) == group


def model_and_optimizer() -> tuple[nn.Module, torch.optim.Optimizer]:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(4, 4), nn.Linear(4, 2))
    model.unused = nn.Linear(2, 2)
    return model, torch.optim.AdamW(model.parameters(), lr=0.1, weight_decay=0.01)


def test_norm_is_that_of_clip_grad_norm() -> None:
    model, optimizer = model_and_optimizer()
    model[1](model[0](torch.ones(3, 4))).pow(2).sum().backward()
    norms = measure_gradients(plain_layout(optimizer), Parameters(model), CPU)
    assert norms.total == pytest.approx(float(torch.nn.utils.clip_grad_norm_(model.parameters(), math.inf)))
    assert norms.first_non_finite is None
    scaled = measure_gradients(
        plain_layout(optimizer, lambda: 4.0), Parameters(model), CPU, non_finite_loss=True
    )
    assert scaled.total == pytest.approx(norms.total / 4)
    assert scaled.non_finite_loss


@pytest.mark.parametrize("bad", [math.nan, math.inf])
def test_non_finite_gradients_are_not_filtered(bad: float) -> None:
    model, optimizer = model_and_optimizer()
    model[1](model[0](torch.ones(3, 4))).sum().backward()
    model[1].weight.grad[0, 0] = bad
    norms = measure_gradients(plain_layout(optimizer), Parameters(model), CPU)
    assert not math.isfinite(norms.total)
    assert norms.first_non_finite == "1.weight"


def test_a_class_that_is_not_known_has_no_layout() -> None:
    class ZeroOptimizerOfTomorrow:
        pass

    assert layout_of(ZeroOptimizerOfTomorrow()) is None


def test_silent_is_not_the_same_as_not_in_the_graph() -> None:
    model, optimizer = model_and_optimizer()
    parameters = Parameters(model)
    probe = SilenceProbe(parameters)
    (model[1](model[0](torch.ones(3, 4))) * 0.0).sum().backward()
    silent = probe.record(measure_gradients(plain_layout(optimizer), parameters, CPU).squares)
    assert int(silent.sum()) == 6
    reached = probe.reached(CPU)
    assert [n for n, r in zip(parameters.names, reached.tolist(), strict=True) if not r] == [
        "unused.weight",
        "unused.bias",
    ]
    model[1](model[0](torch.ones(3, 4))).sum().backward()
    probe.record(measure_gradients(plain_layout(optimizer), parameters, CPU).squares)
    assert [n for n, s in zip(parameters.names, probe.never_loud.tolist(), strict=True) if s] == [
        "unused.weight",
        "unused.bias",
    ]


def test_an_update_of_weight_decay_alone_is_told_from_learning() -> None:
    model, optimizer = model_and_optimizer()
    parameters = Parameters(model)
    probe = UpdateProbe(plain_layout(optimizer), parameters, CPU)
    for parameter in model[0].parameters():
        parameter.grad = torch.zeros_like(parameter)
    for parameter in model[1].parameters():
        parameter.grad = torch.ones_like(parameter)
    probe.before()
    optimizer.step()
    update = probe.after()
    assert update.num_decayed_only == 2
    assert update.moved.tolist()[4:] == [0.0, 0.0]
    assert update.ratio == pytest.approx(math.sqrt(float(update.moved.sum() / update.weights.sum())))
    assert update.unchanged_share == pytest.approx(6 / (16 + 4 + 8 + 2 + 6))


def test_groups_summary() -> None:
    model, optimizer = model_and_optimizer()
    parameters = Parameters(model)
    silence = SilenceProbe(parameters)
    model[1](model[0](torch.ones(3, 4))).pow(2).sum().backward()
    norms = measure_gradients(plain_layout(optimizer), parameters, CPU)
    silent = silence.record(norms.squares)
    (group,) = GroupProbe(parameters).summary(
        squares=norms.squares,
        silent=silent,
        never_loud=silence.never_loud,
        reached=silence.reached(CPU),
        update=None,
    )
    assert group["name"] == "other"
    assert (group["num_parameters"], group["num_silent_parameters"], group["num_never_in_graph"]) == (6, 2, 2)
    assert group["silent_parameters"] == ["unused.weight", "unused.bias"]
    assert group["grad_norm"] == pytest.approx(norms.total)
    assert group["update_ratio"] is None


def test_first_non_finite_module_does_not_move_the_random_numbers() -> None:
    model = nn.Sequential(nn.Linear(4, 4), nn.Dropout(0.5), nn.Linear(4, 2))
    inputs = torch.ones(3, 4)
    assert first_non_finite_module(model, lambda: model(inputs)) is None
    with torch.no_grad():
        model[2].weight[0, 0] = math.inf
    state = torch.get_rng_state()
    assert first_non_finite_module(model, lambda: model(inputs)) == "2"
    assert torch.equal(state, torch.get_rng_state())
    assert non_finite_parameters(model, CPU) == ["2.weight"]


def test_counting_a_micro_batch() -> None:
    batch = {
        "input_ids": torch.tensor([[5, 6, 7, 0]]),
        "labels": torch.tensor([[5, -100, 7, -100]]),
        "attention_mask": torch.tensor([[1, 1, 1, 0]]),
    }
    assert count_supervised(batch) == 1  # position 0 is never predicted
    assert count_tokens(batch) == 3
    assert count_supervised({"input_ids": batch["input_ids"]}) is None
    assert count_tokens({"input_ids": batch["input_ids"]}) == 4
    assert total_supervised([]) is None


def test_memory_is_the_growth_since_the_start() -> None:
    probe = MemoryProbe(CPU)
    block = torch.ones(32 * 1024 * 1024 // 4)
    peak = probe.peak_bytes()
    assert peak is not None
    assert block.numel() > 0
    assert peak < 2**34
