"""Texts to token ids, many in one call, in a thread of its own.

The tokenizers library gives up Python's lock while it works: the next texts are rendered, and the last rows measured,
at the same time.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor, wait
from typing import Any

from hotfire_workers.train.data.rowerror import RowError


class Batches:
    """Tokenises batches of texts, one after the other.

    The tokenizer is shared with the caller's thread. That is safe as long as no call changes how it truncates and
    pads: nobody asks it to, and what its files set is reset by the first call, which is waited for.

    Args:
        tokenizer: A Hugging Face tokenizer. One that is written in Python keeps the lock, and is always waited for.
    """

    def __init__(self, tokenizer: Any):
        self._tokenizer = tokenizer
        self._thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix="tokenise")
        self._is_fast = bool(getattr(tokenizer, "is_fast", False))
        self._is_first = True

    def begin(
        self, texts: Sequence[str], *, add_special_tokens: bool | None
    ) -> Callable[[], list[list[int] | RowError]]:
        """Returns what waits for the ids of the texts, in their order, and gives them.

        A text that the tokenizer refuses concerns no other: its place holds the reason.

        Args:
            texts: What is tokenised.
            add_special_tokens: As of the tokenizer's call; None: its default.
        """
        how = {} if add_special_tokens is None else {"add_special_tokens": add_special_tokens}
        future = self._thread.submit(self._ids, list(texts), how)
        if self._is_first or not self._is_fast:
            wait([future])
        self._is_first = False

        def ids() -> list[list[int] | RowError]:
            try:
                return [*future.result()]
            except Exception:  # noqa: BLE001 - each tokenizer raises its own: which text is it?
                return [self._alone(text, how) for text in texts]

        return ids

    def _ids(self, texts: list[str], how: dict[str, bool]) -> list[list[int]]:
        found: list[list[int]] = self._tokenizer(
            texts, return_attention_mask=False, return_token_type_ids=False, **how
        )["input_ids"]
        return found

    def _alone(self, text: str, how: dict[str, bool]) -> list[int] | RowError:
        try:
            return self._ids([text], how)[0]
        except Exception as error:  # noqa: BLE001 - as above
            return RowError(f"the tokenizer refuses the text of the row ({type(error).__name__})")
