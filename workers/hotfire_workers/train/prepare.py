"""`prepare`: look at the model folder and the sample, once per preflight, and write what trials need.

`python -m hotfire_workers.train.prepare REQUEST.json` does the same as `run`, in a process of its own.
"""

from __future__ import annotations

import dataclasses
import json
import os
import sys
from pathlib import Path
from typing import Any

from hotfire.rules.evidence import ModelFacts, PrepareRequest
from hotfire_workers.train.data.samples import compact
from hotfire_workers.train.errors import BlockedModelError, UnreadableModelError
from hotfire_workers.train.facts import (
    add_tokenizer_facts,
    config_facts,
    is_random,
    layers_to_run,
    model_facts,
)
from hotfire_workers.train.folder import ModelFolder, open_folder
from hotfire_workers.train.packing import packing_leak
from hotfire_workers.train.records import write_json, write_json_lines
from hotfire_workers.train.rows import TokenFacts, prepare_sample
from hotfire_workers.train.tokens import apply_arguments, end_token_ids, read_tokenizer, stop_token_ids
from hotfire_workers.train.weights import make_weights, must_be_made, reuse_weights


def run(request: PrepareRequest) -> None:
    """Looks at model and sample and writes what was found into `request.out_dir`.

    model.json (ModelFacts), data.json (DataEvidence), rows.jsonl (the rows for trials, in their order),
    samples.jsonl (their token views), texts.jsonl (what of the sample no error may repeat) and, where the
    weights are made or cut here, model/. What is wrong with the model or the sample is written there too;
    nothing is raised for it.
    """
    out = Path(request.out_dir)
    out.mkdir(parents=True, exist_ok=True)
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
    facts, tokens = _model(request, out)
    sample = prepare_sample(request, tokens)
    if request.training.get("packing") and sample.evidence.rows:
        sample.evidence.extra["packing_leak"] = packing_leak(
            facts.config, request.training.get("attn_implementation")
        )
    write_json(out / "model.json", facts)
    write_json(out / "data.json", sample.evidence)
    write_json_lines(out / "rows.jsonl", sample.batch_rows)
    write_json_lines(out / "samples.jsonl", [compact(view) for view in sample.views])
    write_json_lines(out / "texts.jsonl", sample.texts)


def _model(request: PrepareRequest, out: Path) -> tuple[ModelFacts, TokenFacts]:
    """Everything about the model; makes the weights where trials cannot load the folder as it is."""
    try:
        folder = open_folder(
            request.model, allow_remote_code=request.allow_remote_code, allow_hub=request.allow_hub
        )
    except UnreadableModelError as error:
        return ModelFacts(readable=False, read_error=str(error)), TokenFacts(tokenizer=None)
    except BlockedModelError as error:
        facts = config_facts(error.config)
        facts.blocked, facts.blocked_detail = error.what, str(error)
        return facts, TokenFacts(tokenizer=None)
    facts, notes = model_facts(request, folder)
    tokenizer = own_template = None
    try:
        tokenizer = read_tokenizer(folder)
    except UnreadableModelError as error:
        _set_unreadable(facts, error)
    if facts.readable and not facts.blocked and request.make_weights:
        try:
            _place_weights(request, folder, out / "model", tokenizer)
        except UnreadableModelError as error:
            _set_unreadable(facts, error)
    if tokenizer is not None:
        own_template, num_known = tokenizer.chat_template, len(tokenizer)
        notes += apply_arguments(tokenizer, request.training)
        add_tokenizer_facts(facts, tokenizer, has_own_template=bool(own_template), num_known=num_known)
    stop_ids = stop_token_ids(tokenizer, folder)
    tokens = TokenFacts(
        tokenizer=tokenizer,
        stop_ids=stop_ids,
        end_ids=end_token_ids(tokenizer, stop_ids),
        model_type=facts.model_type,
        own_template=own_template,
        config=folder.config,
        folder=_folder_of(folder),
        notes=notes,
    )
    return facts, tokens


def _folder_of(folder: ModelFolder) -> Path | None:
    return folder.path if folder.path.is_dir() else None


def _set_unreadable(facts: ModelFacts, error: UnreadableModelError) -> None:
    """Notes the first reason; the later ones mostly follow from it."""
    if facts.readable and not facts.blocked:
        facts.readable, facts.read_error = False, str(error)


def _place_weights(request: PrepareRequest, folder: ModelFolder, made: Path, tokenizer: Any) -> None:
    """Sees to `model/`, where trials cannot load the model's own folder.

    Raises:
        UnreadableModelError: The weights do not load.
    """
    num_layers = layers_to_run(request, folder.config)
    random = is_random(request)
    if must_be_made(folder, is_random=random, num_layers=num_layers):
        if not (
            request.reuse_model_dir
            and reuse_weights(Path(request.reuse_model_dir), made, num_layers=num_layers)
        ):
            make_weights(
                folder, made, is_random=random, num_layers=num_layers, seed=request.seed, tokenizer=tokenizer
            )
    elif not request.model.get("path"):  # from the hub's cache: trials need a folder
        reuse_weights(folder.path, made, num_layers=None)


def main(arguments: list[str]) -> int:
    """Runs the request in a JSON file; returns the exit code."""
    if len(arguments) != 1:
        print("usage: python -m hotfire_workers.train.prepare REQUEST.json", file=sys.stderr)
        return 2
    fields = json.loads(Path(arguments[0]).read_text(encoding="utf-8"))
    known = {f.name for f in dataclasses.fields(PrepareRequest)}
    run(PrepareRequest(**{name: value for name, value in fields.items() if name in known}))
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
