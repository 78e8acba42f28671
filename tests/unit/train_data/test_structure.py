"""What a model without memory shows: ties, positions, layers; and where a hub id is looked for."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from tests.unit.train_data.specimens import make_tokenizer, write_model

from hotfire.rules.evidence import ModelFacts, PrepareRequest
from hotfire_workers.train.errors import BlockedModelError, UnreadableModelError
from hotfire_workers.train.facts import add_tokenizer_facts, model_facts
from hotfire_workers.train.folder import open_folder
from hotfire_workers.train.packing import packing_leak
from hotfire_workers.train.structure import max_positions

TINY = {
    "hidden_size": 32,
    "intermediate_size": 64,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "vocab_size": 128,
    "pad_token_id": None,
}


def facts_of(tmp_path: Path, config: dict[str, Any], training: dict[str, Any] | None = None) -> ModelFacts:
    (tmp_path / "config.json").write_text(json.dumps(config))
    model = {"path": str(tmp_path), "init": "RANDOM"}
    request = PrepareRequest(out_dir="", model=model, data={}, training=training or {})
    facts, _ = model_facts(request, open_folder(model))
    assert facts.read_error is None
    return facts


@pytest.mark.parametrize(
    ("config", "positions", "tied", "linear"),
    [
        ({"model_type": "llama", **TINY}, "rotary", False, {"q_proj": 2, "gate_proj": 2}),
        ({"model_type": "qwen3", "tie_word_embeddings": True, **TINY}, "rotary", True, {"down_proj": 2}),
        ({"model_type": "gpt2", "n_embd": 32, "n_head": 4, "n_layer": 2}, "learned", True, {"c_attn": 2}),
        (
            {"model_type": "opt", **TINY, "word_embed_proj_dim": 32, "ffn_dim": 64},
            "learned",
            True,
            {"fc1": 2},
        ),
        (
            {"model_type": "bloom", "hidden_size": 32, "n_layer": 2, "n_head": 4},
            "relative",
            True,
            {"dense": 2},
        ),
    ],
    ids=lambda value: value.get("model_type", "") if isinstance(value, dict) else "",
)
def test_architectures(
    tmp_path: Path, config: dict[str, Any], positions: str, tied: bool, linear: dict[str, int]
) -> None:
    facts = facts_of(tmp_path, config)
    assert (facts.positions, facts.tied_embeddings) == (positions, tied)
    assert linear.items() <= facts.linear_modules.items()
    assert "lm_head" not in facts.linear_modules
    assert facts.embedding_module
    assert facts.head_module == "lm_head"


def test_experts_are_named(tmp_path: Path) -> None:
    config = {"model_type": "mixtral", **TINY, "num_local_experts": 4}
    assert facts_of(tmp_path, config).moe_modules == ["MixtralSparseMoeBlock"]


@pytest.mark.parametrize(
    ("config", "positions"),
    [
        ({"max_position_embeddings": 2048}, 2048),
        ({"n_positions": 1024}, 1024),
        ({"text_config": {"max_position_embeddings": 512}}, 512),
        ({"max_position_embeddings": 2048, "rope_scaling": {"type": "linear", "factor": 4}}, 8192),
        (
            {
                "max_position_embeddings": 32768,
                "rope_scaling": {
                    "rope_type": "yarn",
                    "factor": 4.0,
                    "original_max_position_embeddings": 32768,
                },
            },
            131072,
        ),
        (  # Llama 3: the factor is in max_position_embeddings already
            {
                "max_position_embeddings": 131072,
                "rope_scaling": {
                    "rope_type": "llama3",
                    "factor": 8.0,
                    "original_max_position_embeddings": 8192,
                },
            },
            131072,
        ),
        (
            {"max_position_embeddings": 64, "rope_parameters": {"full": {"rope_type": "yarn", "factor": 2}}},
            128,
        ),
        ({"hidden_size": 8}, None),
    ],
)
def test_positions_with_rope_scaling(config: dict[str, Any], positions: int | None) -> None:
    assert max_positions(config) == positions


@pytest.mark.parametrize(
    ("peft", "sides", "matches"),
    [
        ({"target_modules": ["q_proj"]}, [], {"q_proj": 2}),
        ({"target_modules": ["q_proj", "lm_head"]}, ["head"], {"q_proj": 2, "lm_head": 1}),
        (
            {"target_modules": ["q_proj"], "modules_to_save": ["embed_tokens"]},
            ["embedding"],
            {"embed_tokens": 1},
        ),
        ({"target_modules": r".*(q_proj|embed_tokens)"}, ["embedding"], {r".*(q_proj|embed_tokens)": 3}),
        ({"target_modules": "all-linear"}, [], {"all-linear": 14}),
        ({"target_modules": ["embed_tokens"], "ensure_weight_tying": True}, ["embedding", "head"], {}),
        ({"target_modules": ["q_proj"], "trainable_token_indices": [3]}, ["embedding", "head"], {}),
        ({"target_modules": ["nothing"]}, [], {"nothing": 0}),
    ],
)
def test_what_an_adapter_names(
    tmp_path: Path, peft: dict[str, Any], sides: list[str], matches: dict[str, int]
) -> None:
    config = {"model_type": "llama", "tie_word_embeddings": True, **TINY}
    facts = facts_of(tmp_path, config, {"peft": {"r": 2, **peft}})
    assert facts.adapted_sides == sides
    assert matches.items() <= facts.target_matches.items()
    assert (facts.num_trainable is None) == ("nothing" in facts.target_matches)


def test_what_is_trainable_is_known_without_weights(tmp_path: Path) -> None:
    source = write_model(tmp_path / "m", weights=False)
    request = PrepareRequest(
        out_dir="",
        model={"path": str(source)},
        data={},
        training={"peft": {"r": 2, "target_modules": ["q_proj"]}},
    )
    facts, _ = model_facts(request, open_folder(request.model))
    assert not facts.readable
    assert "holds no weights" in (facts.read_error or "")
    assert facts.num_trainable == 2 * 2 * (32 + 32)
    assert facts.vocab_size == 400


def test_a_blocked_model_still_tells_its_config(tmp_path: Path) -> None:
    source = write_model(tmp_path / "m", weights=False)
    path = source / "config.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "auto_map": {"AutoModelForCausalLM": "x.X"}}))
    with pytest.raises(BlockedModelError) as caught:
        open_folder({"path": str(source), "trust_remote_code": True})
    assert caught.value.config["max_position_embeddings"] == 512


# ---- the tokenizer ----


def test_a_tokenizer_of_another_model_is_doubted() -> None:
    facts = ModelFacts(config={"eos_token_id": [151329, 151336], "bos_token_id": None})
    add_tokenizer_facts(facts, make_tokenizer(), has_own_template=True)
    (doubt,) = facts.tokenizer_doubts
    assert "eos_token_id [151329, 151336], and the tokenizer has" in doubt
    ordinary = ModelFacts(config={"eos_token_id": 99})
    add_tokenizer_facts(ordinary, make_tokenizer(), has_own_template=True)
    assert "is an ordinary token of the tokenizer, whose end token has id 0" in ordinary.tokenizer_doubts[0]
    fine = ModelFacts(config={"eos_token_id": [0, 4], "bos_token_id": 1})
    add_tokenizer_facts(fine, make_tokenizer(), has_own_template=True)
    assert fine.tokenizer_doubts == []


def test_new_tokens_are_those_that_the_arguments_added() -> None:
    tokenizer = make_tokenizer()
    num_known = len(tokenizer)
    tokenizer.add_special_tokens({"eos_token": "<|my_end|>"})
    facts = ModelFacts()
    add_tokenizer_facts(facts, tokenizer, has_own_template=True, num_known=num_known)
    assert facts.new_tokens == {"<|my_end|>": num_known}


# ---- the hub's cache ----


def _cached(hub: Path, source: Path) -> str:
    """Puts a folder where huggingface_hub keeps `owner/name`; returns its revision."""
    sha, repo = "a" * 40, hub / "models--owner--name"
    (repo / "snapshots").mkdir(parents=True)
    (repo / "refs").mkdir()
    (repo / "refs" / "main").write_text(sha)
    source.rename(repo / "snapshots" / sha)
    return sha


def test_a_hub_id_is_looked_for_in_the_cache_first(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "hub"))
    sha = _cached(tmp_path / "hub", write_model(tmp_path / "m", weights=False))
    for revision in (None, "main", sha):
        folder = open_folder({"hub_id": "owner/name", "revision": revision})
        assert folder.config["model_type"] == "glm4"
    for allowed, words in ((False, "hub access is off here"), (True, "cannot be fetched from the hub")):
        with pytest.raises(UnreadableModelError, match=words) as caught:
            open_folder({"hub_id": "owner/name", "revision": "v2"}, allow_hub=allowed)
        assert str(caught.value).startswith("owner/name, revision v2")


# ---- packing ----


def test_packed_rows_of_a_small_copy() -> None:
    llama = {"model_type": "llama", **TINY, "hidden_size": 4096, "vocab_size": 128256}
    kept = packing_leak(llama, "eager")
    assert kept is not None
    assert (kept["attention"], kept["leaks"]) == ("eager", False)
    opt = {"model_type": "opt", **TINY, "word_embed_proj_dim": 64, "ffn_dim": 64}
    leaks = packing_leak(opt, None)
    assert leaks is not None
    assert leaks["leaks"]
    assert packing_leak({"model_type": "no-such-type"}, None) is None
