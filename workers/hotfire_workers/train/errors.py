"""What the user's model folder, tokenizer or arguments can get wrong, told with the remedy."""

from __future__ import annotations

from typing import Any


class UnreadableModelError(ValueError):
    """The folder, its weights or its tokenizer cannot be used. The text says why and what to do (M110)."""


class BlockedModelError(ValueError):
    """The model would need something that policy forbids here (M109).

    Attributes:
        what: "remote-code" or "pickle-weights".
        config: The model's config.json, where it was read already.
    """

    def __init__(self, what: str, detail: str, *, config: dict[str, Any] | None = None):
        super().__init__(detail)
        self.what = what
        self.config = config or {}


def one_line(error: BaseException, limit: int = 300) -> str:
    """The first line of an exception's text, short."""
    text = " ".join(str(error).strip().split("\n\n")[0].split())
    return (text or type(error).__name__)[:limit]
