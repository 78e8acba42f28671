"""The job's tokenizer: loaded from the model folder (or a GGUF file), with the job's arguments applied."""

from __future__ import annotations

import re
from typing import Any

from hotfire_workers.train.errors import UnreadableModelError, one_line
from hotfire_workers.train.folder import ModelFolder, open_folder, quiet_libraries

_END_OF_TURN = (
    "<|im_end|>",
    "<|eot_id|>",
    "<|eom_id|>",
    "<end_of_turn>",
    "<turn|>",
    "<|end|>",
    "<|endofturn|>",
)
"""Tokens that end a turn in public chat templates, also where the tokenizer does not call them EOS."""
_PADS = tuple(
    re.compile(pattern, re.IGNORECASE)
    for pattern in (
        r"right_pad|^\W*pad\W*$|padding",
        r"vision_pad|fim_pad",
        r"reserved|extra_\d|unused|place.?holder",
        r"^\W*unk\W*$",
    )
)
"""What tokens that can pad are called, best first."""


def load_tokenizer(
    model: dict[str, Any], training: dict[str, Any], *, allow_remote_code: bool = False
) -> Any:
    """Loads the tokenizer of the job.

    Args:
        model: As in `PrepareRequest.model`.
        training: The training arguments; `chat_template`, `pad_token`, `eos_token`, `padding_side` and
            `truncation_side` are applied.
        allow_remote_code: Whether code from the folder may run (it must also be asked for in `model`).

    Returns:
        A Hugging Face tokenizer.

    Raises:
        UnreadableModelError: There is none, or it does not load; the text names the remedy.
        BlockedModelError: It needs code from the folder and that is not allowed.
    """
    folder = open_folder(model, allow_remote_code=allow_remote_code)
    tokenizer = read_tokenizer(folder)
    apply_arguments(tokenizer, training)
    return tokenizer


def read_tokenizer(folder: ModelFolder) -> Any:
    """The tokenizer as it lies in the folder.

    Raises:
        UnreadableModelError: There is none, or it does not load.
    """
    from transformers import AutoTokenizer

    folder.check_tokenizer_files()
    try:
        with quiet_libraries(), folder.quick_gguf():
            tokenizer = AutoTokenizer.from_pretrained(folder.location, **folder.load_arguments())
    except Exception as error:
        raise UnreadableModelError(
            f"The tokenizer of {folder.name} does not load: {one_line(error)}. Put the tokenizer's files "
            "(tokenizer.json, tokenizer_config.json, or the vocabulary they name) of this very model there."
        ) from error
    if not len(tokenizer):
        raise UnreadableModelError(f"The tokenizer of {folder.name} has no tokens. Copy its files again.")
    return tokenizer


def apply_arguments(tokenizer: Any, training: dict[str, Any]) -> list[str]:
    """Sets what the job sets on its tokenizer; returns notes on what that did.

    A token that the vocabulary does not have is added, as training scripts do; whether the model has a row
    for it is for the rules to say. Without a pad token, the end token serves as one, as in most recipes.
    """
    notes = []
    if training.get("chat_template"):
        tokenizer.chat_template = training["chat_template"]
    for side in ("padding_side", "truncation_side"):
        if training.get(side) in ("left", "right"):
            setattr(tokenizer, side, training[side])
    for name in ("eos_token", "pad_token"):
        token = training.get(name)
        if not token:
            continue
        if token in tokenizer.get_vocab():
            setattr(tokenizer, name, token)
        else:
            tokenizer.add_special_tokens({name: token})
            notes.append(
                f"training.{name} is not in the vocabulary: it was added with id "
                f"{tokenizer.convert_tokens_to_ids(token)}"
            )
    if tokenizer.pad_token_id is None and tokenizer.eos_token is not None:
        tokenizer.pad_token = tokenizer.eos_token
        notes.append("the tokenizer has no pad token: the end token is used for padding, as most recipes do")
    return notes


def stop_token_ids(tokenizer: Any, folder: ModelFolder | None) -> list[int]:
    """Ids at which generation stops: the tokenizer's own first, then those of the model's configs."""
    ids = [] if tokenizer is None or tokenizer.eos_token_id is None else [tokenizer.eos_token_id]
    for config in (folder.generation_config, folder.config) if folder else ():
        ids += _ids(config.get("eos_token_id"))
    return list(dict.fromkeys(ids))


def end_token_ids(tokenizer: Any, stop_ids: list[int]) -> frozenset[int]:
    """Ids that end a sequence or a turn: the stop ids and the usual end-of-turn tokens of this vocabulary."""
    added = tokenizer.get_added_vocab() if tokenizer is not None else {}
    return frozenset(stop_ids) | {added[token] for token in _END_OF_TURN if token in added}


def pad_candidates(tokenizer: Any) -> list[str]:
    """Control tokens of this vocabulary that can pad: made for it, or never used; best first, three at most."""
    taken = {tokenizer.eos_token, tokenizer.bos_token}
    found = []
    for token in tokenizer.get_added_vocab():
        place = next((i for i, pattern in enumerate(_PADS) if pattern.search(token)), None)
        if place is not None and token not in taken:
            found.append((place, token))
    return [token for _, token in sorted(found, key=lambda entry: entry[0])[:3]]


def tokenizer_doubts(tokenizer: Any, config: dict[str, Any]) -> list[str]:
    """What says that the tokenizer is not the one of this model.

    Args:
        tokenizer: Of the folder.
        config: The model's config.json.
    """
    doubts = []
    for name in ("bos_token_id", "eos_token_id"):
        value = config.get(name)
        outside = [i for i in _ids(value) if i >= len(tokenizer)]
        if outside:
            doubts.append(f"config.json has {name} {value}, and the tokenizer has {len(tokenizer)} tokens")
    ends, special = _ids(config.get("eos_token_id")), set(tokenizer.all_special_ids)
    own = tokenizer.eos_token_id
    added = set(tokenizer.get_added_vocab().values())
    if ends and own is not None and own not in ends and not doubts and not set(ends) & (special | added):
        doubts.append(
            f"eos_token_id {config['eos_token_id']} of config.json is an ordinary token of the tokenizer, "
            f"whose end token has id {own}"
        )
    return doubts


def _ids(value: Any) -> list[int]:
    values = value if isinstance(value, list) else [value]
    return [v for v in values if isinstance(v, int) and not isinstance(v, bool) and v >= 0]


def special_token_ids(tokenizer: Any) -> dict[str, int]:
    """Such as "bos", "eos", "pad", "unk" -> id."""
    names = ("bos", "eos", "pad", "unk", "sep", "cls", "mask")
    ids = {name: getattr(tokenizer, f"{name}_token_id", None) for name in names}
    return {name: value for name, value in ids.items() if value is not None}
