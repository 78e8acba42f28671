"""Control tokens: what a template or a tokenizer writes around texts."""

from __future__ import annotations

import re
from typing import Any

_LOOKS = re.compile(r"<[|｜].+[|｜]>")


def control_tokens(tokenizer: Any) -> dict[int, str]:
    """Id -> text of the tokens that stand for something other than text.

    Those that the tokenizer calls special, and added ones that are written like it (DeepSeek's `<｜User｜>`
    is not marked as special).
    """
    if tokenizer is None:
        return {}
    added = getattr(tokenizer, "added_tokens_decoder", {})
    found = {i: t.content for i, t in added.items() if t.special or _LOOKS.fullmatch(t.content)}
    for token_id, token in zip(tokenizer.all_special_ids, tokenizer.all_special_tokens, strict=False):
        found.setdefault(token_id, str(token))
    return found
