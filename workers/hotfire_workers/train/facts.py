"""What is known of the model before it is loaded: from config.json, file headers, a model without memory."""

from __future__ import annotations

from typing import Any

import torch
from torch import nn

from hotfire.rules.evidence import ModelFacts, PrepareRequest
from hotfire_workers.train.checkpoint import check_shapes, check_weights
from hotfire_workers.train.errors import BlockedModelError, UnreadableModelError, one_line
from hotfire_workers.train.folder import ModelFolder
from hotfire_workers.train.model import dtype_argument, set_trainable
from hotfire_workers.train.tokens import special_token_ids
from hotfire_workers.train.weights import auto_config, build, config_dtype, layers_of

_POSITIONS = (
    "max_position_embeddings",
    "n_positions",
    "max_seq_len",
    "seq_length",
    "max_sequence_length",
    "n_ctx",
)


def layers_to_run(request: PrepareRequest, config: dict[str, Any]) -> int | None:
    """Layers that trials have: the least of what the model has, the user asked for and the slot holds."""
    wanted = [n for n in (request.model.get("num_layers"), request.max_num_layers, layers_of(config)) if n]
    return max(1, min(wanted)) if wanted else None


def is_random(request: PrepareRequest) -> bool:
    """Whether the weights start random."""
    return str(request.model.get("init") or "").removeprefix("INIT_").upper() == "RANDOM"


def model_facts(request: PrepareRequest, folder: ModelFolder) -> tuple[ModelFacts, list[str]]:
    """Facts of the model as config.json describes it (all layers), and notes.

    What is wrong is told in `read_error` or `blocked`; whatever could be found out is filled in all the same.
    """
    config = folder.config
    facts = ModelFacts(
        config=config,
        model_type=config.get("model_type"),
        architecture=_first(config.get("architectures")),
        max_positions=next((v for part in _parts(config) for k in _POSITIONS if (v := part.get(k))), None),
        num_layers=layers_of(config),
        num_layers_run=layers_to_run(request, config),
        pretrained=not is_random(request),
    )
    notes: list[str] = []
    try:
        facts.weights_format = folder.weights_format
        facts.weights_bytes = folder.weights_bytes
        built_config = auto_config(folder)
        facts.dtype = str(config_dtype(built_config)).removeprefix("torch.")
        model = _without_memory(folder, built_config)
        facts.architecture = facts.architecture or type(model).__name__
        facts.num_parameters = sum(p.numel() for p in model.parameters())
        embedding = model.get_input_embeddings()
        facts.vocab_size = getattr(embedding, "num_embeddings", None) or embedding.weight.shape[0]
        if facts.pretrained:
            check_weights(folder, allow_pickle=request.allow_pickle)
            check_shapes(folder, model)
        _trainable_facts(facts, model, request.training, notes)
    except BlockedModelError as error:
        facts.blocked, facts.blocked_detail = error.what, str(error)
    except UnreadableModelError as error:
        facts.readable, facts.read_error = False, str(error)
    return facts, notes


def add_tokenizer_facts(facts: ModelFacts, tokenizer: Any, *, has_own_template: bool) -> None:
    """Fills in what the tokenizer, with the job's arguments applied, says."""
    facts.tokenizer_length = len(tokenizer)
    facts.special_token_ids = special_token_ids(tokenizer)
    facts.has_chat_template = has_own_template


def _without_memory(folder: ModelFolder, config: Any) -> nn.Module:
    """The model on the meta device: every module and shape, no numbers."""
    with torch.device("meta"):
        return build(folder, config, **{dtype_argument(): config_dtype(config)})


def _trainable_facts(facts: ModelFacts, model: nn.Module, training: dict[str, Any], notes: list[str]) -> None:
    """Counts what `peft`, `trainable` and `frozen` leave trainable; a refusal is a fact too."""
    try:
        _, report = set_trainable(model, training)
    except ValueError as error:
        notes.append(one_line(error))
        targets = (training.get("peft") or {}).get("target_modules")
        if targets and "not found in the base model" in str(error):
            facts.unmatched_patterns = [targets] if isinstance(targets, str) else [str(t) for t in targets]
        return
    facts.num_trainable = report["num_trainable"]
    facts.num_trainable_tensors = report["num_trainable_tensors"]
    facts.unmatched_patterns = report["unmatched_patterns"]


def _parts(config: dict[str, Any]) -> list[dict[str, Any]]:
    text = config.get("text_config")
    return [config, text] if isinstance(text, dict) else [config]


def _first(values: Any) -> str | None:
    return str(values[0]) if isinstance(values, list) and values else None
