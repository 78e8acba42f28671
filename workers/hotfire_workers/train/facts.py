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
from hotfire_workers.train.structure import max_positions, structure_facts
from hotfire_workers.train.tokens import pad_candidates, special_token_ids, tokenizer_doubts
from hotfire_workers.train.weights import auto_config, build, config_dtype, layers_of


def layers_to_run(request: PrepareRequest, config: dict[str, Any]) -> int | None:
    """Layers that trials have: the least of what the model has, the user asked for and the slot holds."""
    wanted = [n for n in (request.model.get("num_layers"), request.max_num_layers, layers_of(config)) if n]
    return max(1, min(wanted)) if wanted else None


def is_random(request: PrepareRequest) -> bool:
    """Whether the weights start random."""
    return str(request.model.get("init") or "").removeprefix("INIT_").upper() == "RANDOM"


def model_facts(request: PrepareRequest, folder: ModelFolder) -> tuple[ModelFacts, list[str]]:
    """Facts of the model as config.json describes it (all layers), and notes.

    What config.json alone shows comes first and is there also where the weights are missing or broken. What
    is wrong is told in `read_error` or `blocked`.
    """
    facts = config_facts(folder.config)
    facts.num_layers_run = layers_to_run(request, folder.config)
    facts.pretrained = not is_random(request)
    notes: list[str] = []
    try:
        model = _describe(facts, folder)
    except UnreadableModelError as error:
        facts.readable, facts.read_error = False, str(error)
        return facts, notes
    try:
        facts.weights_format = folder.weights_format
        facts.weights_bytes = folder.weights_bytes
        if facts.pretrained:
            check_weights(folder, allow_pickle=request.allow_pickle)
            check_shapes(folder, model)
    except BlockedModelError as error:
        facts.blocked, facts.blocked_detail = error.what, str(error)
    except UnreadableModelError as error:
        facts.readable, facts.read_error = False, str(error)
    # Last, as the adapter is put into this very model.
    _trainable_facts(facts, model, request.training, notes)
    return facts, notes


def config_facts(config: dict[str, Any]) -> ModelFacts:
    """What stands in config.json itself."""
    return ModelFacts(
        config=config,
        model_type=config.get("model_type"),
        architecture=_first(config.get("architectures")),
        max_positions=max_positions(config),
        num_layers=layers_of(config),
    )


def add_tokenizer_facts(
    facts: ModelFacts, tokenizer: Any, *, has_own_template: bool, num_known: int | None = None
) -> None:
    """Fills in what the tokenizer, with the job's arguments applied, says.

    Args:
        facts: To fill in.
        tokenizer: The job's.
        has_own_template: A chat template came with it.
        num_known: Tokens that it had before the arguments were applied.
    """
    facts.tokenizer_length = len(tokenizer)
    facts.special_token_ids = special_token_ids(tokenizer)
    facts.has_chat_template = has_own_template
    facts.pad_candidates = pad_candidates(tokenizer)
    facts.tokenizer_doubts = tokenizer_doubts(tokenizer, facts.config)
    if num_known is not None and num_known < len(tokenizer):
        added = tokenizer.get_added_vocab()
        facts.new_tokens = {token: index for token, index in added.items() if index >= num_known}


def _describe(facts: ModelFacts, folder: ModelFolder) -> nn.Module:
    """Builds the model without memory, and notes what it is made of.

    Raises:
        UnreadableModelError: config.json describes no model that can be built.
    """
    config = auto_config(folder)
    facts.dtype = str(config_dtype(config)).removeprefix("torch.")
    model = _without_memory(folder, config)
    facts.architecture = facts.architecture or type(model).__name__
    facts.num_parameters = sum(p.numel() for p in model.parameters())
    embedding = model.get_input_embeddings()
    facts.vocab_size = getattr(embedding, "num_embeddings", None) or embedding.weight.shape[0]
    return model


def _without_memory(folder: ModelFolder, config: Any) -> nn.Module:
    """The model on the meta device: every module and shape, no numbers."""
    with torch.device("meta"):
        return build(folder, config, **{dtype_argument(): config_dtype(config)})


def _trainable_facts(facts: ModelFacts, model: nn.Module, training: dict[str, Any], notes: list[str]) -> None:
    """Counts what `peft`, `trainable` and `frozen` leave trainable; a refusal is a fact too."""
    peft = training.get("peft")
    structure_facts(facts, model, peft if isinstance(peft, dict) else None)
    try:
        _, report = set_trainable(model, training)
    except ValueError as error:
        notes.append(one_line(error))
        facts.peft_error = one_line(error)
        facts.unmatched_patterns = [target for target, count in facts.target_matches.items() if not count]
        return
    facts.num_trainable = report["num_trainable"]
    facts.num_trainable_tensors = report["num_trainable_tensors"]
    facts.unmatched_patterns = report["unmatched_patterns"]


def _first(values: Any) -> str | None:
    return str(values[0]) if isinstance(values, list) and values else None
