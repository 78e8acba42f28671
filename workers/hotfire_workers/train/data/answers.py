"""Is the text that is trained the answer of the row?"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

from hotfire_workers.train.data.encode import IGNORED

_MARKUP = re.compile(r"<[^<>\s]{1,40}>|\[/?[A-Za-z_]{1,20}\]")


class _Texts(dict[int, str]):
    """Token id -> its text without white space."""

    def __init__(self, decode: Callable[[list[int]], str]):
        self._decode = decode

    def __missing__(self, token: int) -> str:
        self[token] = text = "".join(self._decode([token]).split())
        return text


class AnswerComparison:
    """Compares the decoded supervised tokens of a row with its answers.

    White space and the markup that a template puts around an answer do not count.

    Args:
        tokenizer: To decode with.
        end_token_ids: Ids that end a sequence or a turn; they are no part of an answer.
    """

    def __init__(self, tokenizer: Any, end_token_ids: frozenset[int]):
        self._tokenizer = tokenizer
        self._end_token_ids = end_token_ids
        self._texts = _Texts(self._decode)

    def compare(
        self, ids: list[int], labels: list[int], answers: list[str]
    ) -> tuple[bool | None, str | None, float | None]:
        """(whether they are the same, how they differ: "more", "less", "other", the share that differs).

        All None where nothing can be said: no token is trained (another rule's matter), or a template takes
        a reasoning block out of earlier turns, so that what is right cannot be told from here.
        """
        if self._is_plainly_the_same(labels, answers):
            return True, None, None
        trained = self._trained_text(ids, labels)
        if not trained:
            return None, None, None
        answer = _bare("".join(answers))
        if trained == answer:
            return True, None, None
        # This tokenizer may normalise: the answers as it gives them back.
        back = _bare("".join(self._decode(self._ids(a)) for a in answers))
        if trained == back:
            return True, None, None
        if any("</think>" in a for a in answers):
            return None, None, None
        return False, *_difference(trained, back)

    def _is_plainly_the_same(self, labels: list[int], answers: list[str]) -> bool:
        """The texts of the trained tokens, one by one, are the answers: so are they together. Most rows."""
        text = "".join(map(self._texts.__getitem__, filter(IGNORED.__ne__, labels)))
        return bool(text) and text == "".join("".join(answers).split())

    def _trained_text(self, ids: list[int], labels: list[int]) -> str:
        runs: list[list[int]] = []
        run: list[int] = []
        for token, label in zip(ids, labels, strict=True):
            if label != IGNORED:
                run.append(token)
            elif run:
                runs.append(run)
                run = []
        runs = [*runs, run] if run else runs
        return _bare("".join(self._decode(r) for r in runs))

    def _ids(self, text: str) -> list[int]:
        return list(self._tokenizer(text, add_special_tokens=False)["input_ids"])

    def _decode(self, ids: list[int]) -> str:
        text: str = self._tokenizer.decode(
            [i for i in ids if i not in self._end_token_ids],
            skip_special_tokens=False,
            clean_up_tokenization_spaces=False,
        )
        return text


def _difference(trained: str, answer: str) -> tuple[str, float]:
    """How much of the longer text the other one lacks."""
    if answer in trained:
        return "more", 1 - len(answer) / len(trained)
    if trained in answer:
        return "less", 1 - len(trained) / len(answer)
    same = _num_common(trained, answer) + _num_common(trained[::-1], answer[::-1])
    return "other", max(0.0, 1 - same / max(len(trained), len(answer)))


def _num_common(one: str, other: str) -> int:
    return next(
        (i for i, (a, b) in enumerate(zip(one, other, strict=False)) if a != b), min(len(one), len(other))
    )


def _bare(text: str) -> str:
    return "".join(_MARKUP.sub("", text).split())
