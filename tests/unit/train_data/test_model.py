"""Loading, adapters, patterns, input gradients."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from tests.unit.train_data.specimens import write_model

from hotfire_workers.train.errors import UnreadableModelError
from hotfire_workers.train.model import load_model, set_trainable


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_model(tmp_path_factory.mktemp("model"))


def _model(folder: Path, **training: Any) -> Any:
    return load_model({"path": str(folder)}, training)


def test_loading(folder: Path) -> None:
    model = _model(folder, attn_implementation="eager")
    assert type(model).__name__ == "Glm4ForCausalLM"
    assert model.config._attn_implementation == "eager"
    assert not model.training  # as from_pretrained leaves it
    assert load_model({"path": str(folder)}, {}, dtype=torch.bfloat16).dtype is torch.bfloat16


def test_an_error_of_the_libraries_becomes_one_sentence(folder: Path) -> None:
    with pytest.raises(UnreadableModelError, match="do not load"):
        _model(folder, attn_implementation="no_such_attention")
    with pytest.raises(UnreadableModelError, match="does not exist"):
        _model(folder / "nowhere")


def test_everything_is_trained_by_default(folder: Path) -> None:
    _, report = set_trainable(_model(folder), {})
    assert report["num_trainable"] == report["num_parameters"] > 0
    assert (report["peft"], report["unmatched_patterns"]) == (False, [])


def test_lora_with_a_saved_module_and_a_target_that_is_not_there(folder: Path) -> None:
    peft = {"r": 4, "target_modules": ["q_proj", "query"], "modules_to_save": ["lm_head"]}
    model, report = set_trainable(_model(folder), {"peft": peft})
    names = {n for n, p in model.named_parameters() if p.requires_grad}
    assert all("lora_" in n or "modules_to_save" in n for n in names)
    assert any("lm_head.modules_to_save" in n for n in names)
    assert report["unmatched_patterns"] == ["query"]
    assert report["num_trainable"] < report["num_parameters"]


@pytest.mark.parametrize(
    ("training", "says"),
    [
        ({"peft": {"target_modules": ["nothing"]}}, "not found in the base model"),
        ({"peft": {"rank": 4}}, "does not know: rank"),
        ({"peft": {"peft_type": "PREFIX_TUNING"}}, "only LORA"),
        ({"frozen": ["("]}, "training.frozen: '\\(' is not a regular expression"),
    ],
)
def test_bad_arguments_name_the_field(folder: Path, training: dict[str, Any], says: str) -> None:
    with pytest.raises(ValueError, match=says):
        set_trainable(_model(folder), training)


def test_patterns(folder: Path) -> None:
    training = {"trainable": [r"layers\.1\.", "lm_head", "vision"], "frozen": ["norm", "audio"]}
    model, report = set_trainable(_model(folder), training)
    names = {n for n, p in model.named_parameters() if p.requires_grad}
    assert names
    assert all(("layers.1." in n or "lm_head" in n) and "norm" not in n for n in names)
    assert report["unmatched_patterns"] == ["vision", "audio"]


def test_patterns_besides_an_adapter(folder: Path) -> None:
    training = {
        "peft": {"target_modules": ["q_proj"]},
        "trainable": [r"^lm_head"],
        "frozen": [r"layers\.0\."],
    }
    model, _ = set_trainable(_model(folder), training)
    names = {n for n, p in model.named_parameters() if p.requires_grad}
    assert any("lm_head" in n for n in names)
    assert any("layers.1" in n and "lora_A" in n for n in names)
    assert not any("layers.0" in n for n in names)


def _lora_gradients(folder: Path, enable: bool | None) -> list[torch.Tensor]:
    """Gradients of lora_B after one backward through reentrant checkpointing, as F40 has it."""
    training = {
        "peft": {"target_modules": ["q_proj"]},
        "trainable": ["lm_head"],
        "enable_input_require_grads": enable,
    }
    model, _ = set_trainable(_model(folder), training)
    model.train()
    model.gradient_checkpointing_enable({"use_reentrant": True})
    ids = torch.arange(10, 20).reshape(1, -1)
    model(input_ids=ids, labels=ids).loss.backward()
    return [p.grad for n, p in model.named_parameters() if "lora_B" in n and p.grad is not None]


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize(("enable", "arrive"), [(None, True), (True, True), (False, False)])
def test_input_gradients_can_be_forced_both_ways(folder: Path, enable: bool | None, arrive: bool) -> None:
    """The libraries enable them by themselves (transformers 5.23, peft 0.21): False must prevent that."""
    assert bool(_lora_gradients(folder, enable)) is arrive


@pytest.mark.filterwarnings("ignore")
def test_peft_does_not_enable_them_behind_our_back(folder: Path) -> None:
    model, _ = set_trainable(_model(folder), {"enable_input_require_grads": False})
    model.gradient_checkpointing_enable({"use_reentrant": True})
    from peft import LoraConfig, get_peft_model

    wrapped = get_peft_model(model, LoraConfig(target_modules=["q_proj"]))
    wrapped.enable_input_require_grads()
    embedding = wrapped.get_input_embeddings()
    assert not embedding._forward_hooks
