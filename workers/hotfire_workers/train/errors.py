"""What the user's model folder, tokenizer or arguments can get wrong, told with the remedy."""

from __future__ import annotations


class UnreadableModelError(ValueError):
    """The folder, its weights or its tokenizer cannot be used. The text says why and what to do (M110)."""


class BlockedModelError(ValueError):
    """The model would need something that policy forbids here (M109).

    Attributes:
        what: "remote-code" or "pickle-weights".
    """

    def __init__(self, what: str, detail: str):
        super().__init__(detail)
        self.what = what


def one_line(error: BaseException, limit: int = 300) -> str:
    """The first line of an exception's text, short."""
    text = " ".join(str(error).strip().split("\n\n")[0].split())
    return (text or type(error).__name__)[:limit]
