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
from hotfire_workers.train.probes.received import gradient_used
from hotfire_workers.train.probes.replicas import checksum
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
    found = first_non_finite_module(model, lambda: model(inputs))
    assert found is not None
    assert (found.name, found.where, found.after, found.weights_finite) == ("2", "output", "1", False)
    assert torch.equal(state, torch.get_rng_state())
    assert non_finite_parameters(model, CPU) == ["2.weight"]


class Overflowing(nn.Module):
    """Two layers with an operation between them; in fp16 one of the three leaves the range of the type."""

    def __init__(self, *, weight: float = 1.0, between: float = 1.0) -> None:
        super().__init__()
        self.first, self.second = nn.Linear(4, 4, bias=False), nn.Linear(4, 2, bias=False)
        nn.init.constant_(self.first.weight, weight)
        nn.init.constant_(self.second.weight, 1.0)
        self.between = between

    def forward(self, inputs: torch.Tensor) -> torch.Tensor:
        return self.second(self.first(inputs) * self.between)


def test_an_overflow_is_told_from_broken_weights_and_placed() -> None:
    inputs = torch.full((3, 4), 100.0, dtype=torch.float16)
    layer = Overflowing(weight=200.0).half()
    found = first_non_finite_module(layer, lambda: layer(inputs))
    assert found is not None
    assert (found.name, found.where, found.weights_finite) == ("first", "output", True)
    assert (found.dtype, found.value, found.input_absmax) == ("float16", "inf", 100.0)
    between = Overflowing(between=1000.0).half()
    found = first_non_finite_module(between, lambda: between(inputs))
    assert found is not None
    # The product between the two modules: what goes into the second is already too large.
    assert (found.name, found.where, found.after, found.input_absmax) == ("second", "input", "first", 400.0)
    healthy = Overflowing().half()
    assert first_non_finite_module(healthy, lambda: healthy(inputs)) is None


@pytest.mark.parametrize(
    ("dtype", "at_1e_6", "at_1e_1"), [(torch.float32, False, False), (torch.bfloat16, True, False)]
)
def test_updates_that_round_to_nothing(dtype: torch.dtype, at_1e_6: bool, at_1e_1: bool) -> None:
    for rate, is_lost in ((1e-6, at_1e_6), (1e-1, at_1e_1)):
        model = nn.Linear(8, 8, bias=False).to(dtype)
        nn.init.constant_(model.weight, 0.5)
        parameters = Parameters(model)
        optimizer = torch.optim.AdamW(model.parameters(), lr=rate, weight_decay=0.0)
        probe = UpdateProbe(plain_layout(optimizer), parameters, CPU)
        model.weight.grad = torch.ones_like(model.weight)
        model.weight.grad[:4] = 0  # no gradient, no update: that is nothing lost
        probe.before()
        optimizer.step()
        update = probe.after()
        assert update.rounded_away_share == (1.0 if is_lost else 0.0)
        assert update.unchanged_share == (1.0 if is_lost else 0.5)
        assert update.num_moved == (0 if is_lost else 1)


@pytest.mark.parametrize("clipping", [math.inf, 0.1])
def test_what_the_optimizer_used_of_the_gradient(clipping: float) -> None:
    model, optimizer = model_and_optimizer()
    model[1](model[0](torch.ones(3, 4))).pow(2).sum().backward()
    norm = float(torch.nn.utils.clip_grad_norm_(model.parameters(), clipping))
    optimizer.step()
    assert gradient_used(optimizer, norm) == pytest.approx(min(1.0, clipping / norm), rel=1e-4)


def test_what_the_optimizer_used_is_not_known_where_decay_is_mixed_in() -> None:
    model, _ = model_and_optimizer()
    for optimizer in (
        torch.optim.Adam(model.parameters(), weight_decay=0.1),
        torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9),
    ):
        model[1](model[0](torch.ones(3, 4))).pow(2).sum().backward()
        optimizer.step()
        assert gradient_used(optimizer, 1.0) is None


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
@pytest.mark.parametrize("numel", [1, 3, 8, 1000, 70_001])
def test_checksum_sees_one_bit_and_a_swap_and_nothing_else(dtype: torch.dtype, numel: int) -> None:
    torch.manual_seed(0)
    tensor = torch.randn(numel + 1).to(dtype)[1:]  # not aligned to 8 bytes
    same = int(checksum(tensor))
    assert int(checksum(tensor.clone())) == same
    changed = tensor.clone()
    changed[numel // 2] = -changed[numel // 2]
    assert int(checksum(changed)) != same
    if numel > 1:
        assert int(checksum(tensor.flip(0))) != same
    noise = tensor.clone()
    noise[-1] = math.nan
    assert int(checksum(noise)) == int(checksum(noise.clone()))  # NaN is as good as any other bits


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
