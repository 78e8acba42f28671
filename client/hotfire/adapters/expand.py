"""`training: llama3_lora_sft.yaml` in a spec: the file of another tool in place of the arguments."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from hotfire import adapters
from hotfire._document import read_document
from hotfire.adapters.base import Adapted
from hotfire.errors import MissingExtraError

_LOG = logging.getLogger(__name__)
_SHELL = (".sh", ".bash")


def expand(data: dict[str, Any], base: Path) -> Adapted | None:
    """Puts the arguments of another tool's file in the place of its path, and what else the file says around them.

    A model, data, DeepSpeed config or cluster that the spec gives itself is left alone.

    Args:
        data: The spec as written; changed.
        base: The folder that relative paths start from.

    Returns:
        What the file gave and what was ignored; None where `training` is no such file.

    Raises:
        SpecError: The file is another tool's and cannot be understood.
    """
    training = data.get("training")
    if isinstance(training, Mapping):
        if adapters.recognise(training) is None:
            return None
        adapted = adapters.adapt(training, base)
    elif isinstance(training, str | Path):
        path = Path(training).expanduser()
        path = path if path.is_absolute() else base / path
        if not _is_foreign(path):
            return None
        adapted = adapters.read(path)
    else:
        return None
    for part, value in adapted.document.items():
        if part != "training" and data.get(part) is None:
            data[part] = value
    data["training"] = adapted.document.get("training", {})
    if adapted.ignored:
        _LOG.warning(
            "%s: %d keys were not used: %s", adapted.tool, len(adapted.ignored), ", ".join(adapted.ignored)
        )
    for note in adapted.notes:
        _LOG.warning("%s: %s", adapted.tool, note)
    return adapted


def _is_foreign(path: Path) -> bool:
    if path.suffix.lower() in _SHELL:
        return True
    try:
        document = read_document(path.read_text(encoding="utf-8-sig"), path=path)
    except (OSError, UnicodeDecodeError, MissingExtraError):
        return False  # the reader of plain arguments says what is wrong
    return isinstance(document.data, Mapping) and adapters.recognise(document.data) is not None
