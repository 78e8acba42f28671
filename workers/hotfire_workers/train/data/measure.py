"""The numbers of one row: what truncation and the collator leave of it, and whether its answer is whole."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from hotfire.rules.evidence import PreparedRow
from hotfire_workers.train.data.answers import AnswerComparison
from hotfire_workers.train.data.control import control_tokens
from hotfire_workers.train.data.encode import IGNORED, Encoded

_SHORT = 16
"""Rows of so few tokens are looked at for whether anything but control tokens is in them."""


def collated_labels(
    input_ids: list[int], labels: list[int], *, collator: str, pad_token_id: int | None
) -> list[int]:
    """Labels as the job's collator makes them.

    `transformers.DataCollatorForLanguageModeling(mlm=False)` throws the given labels away: it copies the ids
    and masks every id that equals the pad id, and with it a real end token where the two are the same.
    """
    if collator != "LANGUAGE_MODELING":
        return labels
    return [IGNORED if i == pad_token_id else i for i in input_ids]


def cut(values: list[Any], max_length: int | None, side: str) -> list[Any]:
    """What truncation leaves of a row. `side` is the end that is cut off."""
    if max_length is None or len(values) <= max_length:
        return values
    return values[-max_length:] if side == "left" else values[:max_length]


def num_seen(labels: list[int]) -> int:
    """Labels that the shifted loss looks at: position 0 is never predicted."""
    return max(0, len(labels) - labels.count(IGNORED) - (bool(labels) and labels[0] != IGNORED))


def _first_seen(labels: list[int]) -> int:
    return next(i for i in range(1, len(labels)) if labels[i] != IGNORED)


def _last_seen(labels: list[int]) -> int:
    return next(i for i in range(len(labels) - 1, 0, -1) if labels[i] != IGNORED)


@dataclass(kw_only=True)
class Measure:
    """Takes the numbers of rows.

    Attributes:
        tokenizer: To look at texts; None: nothing is decoded.
        collator: Resolved name of the collator.
        pad_token_id: Of the tokenizer, as the job sets it.
        bos_token_id: Of the tokenizer.
        end_token_ids: Ids that end a sequence or a turn.
        max_length: Longest row; None: not cut.
        truncation_side: "left" or "right".
        masked: A mask was asked for, or comes with the data.
    """

    tokenizer: Any
    collator: str
    pad_token_id: int | None
    bos_token_id: int | None
    end_token_ids: frozenset[int]
    max_length: int | None
    truncation_side: str
    masked: bool

    def __post_init__(self) -> None:
        self._texts: dict[int, str] = {}
        self._num_tokens = len(self.tokenizer) if self.tokenizer is not None else 0
        self._comparison = AnswerComparison(self.tokenizer, self.end_token_ids)
        self._bos_text = getattr(self.tokenizer, "bos_token", None)
        self._control_ids = frozenset(control_tokens(self.tokenizer))

    def row(self, encoded: Encoded) -> PreparedRow:
        """Measures one row."""
        ids = encoded.input_ids
        labels = collated_labels(ids, encoded.labels, collator=self.collator, pad_token_id=self.pad_token_id)
        kept_ids, kept_labels = (cut(v, self.max_length, self.truncation_side) for v in (ids, labels))
        num_supervised = num_seen(labels)
        end, has_end = self._end_token(encoded)
        leading = self._num_leading_bos(ids)
        matches, difference, share = self._compare(encoded, labels)
        mismatches, shifted = _label_mismatches(encoded)
        return PreparedRow(
            row=encoded.row,
            num_tokens=len(kept_ids),
            num_tokens_untruncated=len(ids),
            num_supervised=num_seen(kept_labels),
            num_supervised_untruncated=num_supervised,
            first_supervised=_first_seen(labels) if num_supervised else None,
            last_supervised=_last_seen(labels) if num_supervised else None,
            max_token_id=max(ids),
            min_token_id=min(ids),
            num_leading_bos=leading,
            bos_in_answer=self._bos_in_answer(encoded, leading),
            has_end_token=has_end,
            end_token_trained=labels[end] != IGNORED if end is not None else None,
            answer_text_matches=matches,
            prefix_ok=encoded.prefix_ok,
            empty_answer=any(not a.strip() for a in encoded.answers) if encoded.answers else None,
            num_answers=len(encoded.answers) if encoded.answers is not None else None,
            num_text_tokens=self._num_text_tokens(ids, num_supervised),
            answer_difference=difference,
            answer_difference_share=share,
            num_label_mismatches=mismatches,
            labels_shifted=shifted,
            bos_typed=self._is_bos_typed(encoded),
            input_ids=kept_ids,
            labels=kept_labels,
        )

    def text(self, token_id: int) -> str:
        """Text of one token."""
        if token_id not in self._texts and not 0 <= token_id < self._num_tokens:
            self._texts[token_id] = f"<{token_id}>"  # decoders leave it out, and nobody would see it
        if token_id not in self._texts:
            try:
                self._texts[token_id] = self.tokenizer.decode([token_id])
            except Exception:  # noqa: BLE001 - an id out of range has no text; each tokenizer raises its own
                self._texts[token_id] = ""
        return self._texts[token_id]

    def decode(self, ids: list[int]) -> str:
        """Text of several tokens together."""
        if len(ids) == 1:
            return self.text(ids[0])
        try:
            return str(self.tokenizer.decode(ids))
        except Exception:  # noqa: BLE001 - as in `text`
            return ""

    def _num_leading_bos(self, ids: list[int]) -> int:
        if self.bos_token_id is None:
            return 0
        return next((i for i, token in enumerate(ids) if token != self.bos_token_id), len(ids))

    def _bos_in_answer(self, encoded: Encoded, num_leading: int) -> bool:
        # Where one token is both (GPT-2) it ends the answer; without a mask, no answer is known.
        bos = self.bos_token_id
        if not self.masked or bos is None or bos in self.end_token_ids:
            return False
        ids, labels = encoded.input_ids, encoded.labels
        if ids.count(bos) == num_leading:
            return False
        if encoded.answers is not None:  # labels of our own making: each is -100 or the id beside it
            num_all, num_inside = ids.count(bos) - num_leading, labels[num_leading:].count(bos)
            return num_inside > 0 and num_all - num_inside <= (0 if num_leading else 1)
        behind = [label for i, label in zip(ids[num_leading:], labels[num_leading:], strict=True) if i == bos]
        num_inside = sum(label != IGNORED for label in behind)
        # More than one outside of the answers: it begins every turn (SmolLM2's BOS is <|im_start|>).
        return num_inside > 0 and len(behind) - num_inside <= (0 if num_leading else 1)

    def _end_token(self, encoded: Encoded) -> tuple[int | None, bool | None]:
        """Finds the token that ends the last answer: (its index, whether there is one).

        It is the last one of the answer's span, or the one right behind; white space does not count.
        """
        ids, labels = encoded.input_ids, encoded.labels
        if self.tokenizer is None and not self.end_token_ids:
            return None, None
        last = next((i for i in range(len(ids) - 1, -1, -1) if labels[i] != IGNORED), None)
        if last is None:
            return None, None
        inside = last
        while inside > 0 and self._is_blank(ids[inside]) and labels[inside] != IGNORED:
            inside -= 1
        if ids[inside] in self.end_token_ids:
            return inside, True
        behind = last + 1
        while behind < len(ids) and self._is_blank(ids[behind]):
            behind += 1
        if behind < len(ids) and ids[behind] in self.end_token_ids:
            return behind, True
        return None, False

    def _is_blank(self, token_id: int) -> bool:
        return (
            self.tokenizer is not None
            and token_id not in self.end_token_ids
            and not self.text(token_id).strip()
        )

    def _num_text_tokens(self, ids: list[int], num_supervised: int) -> int | None:
        if not self._control_ids or (num_supervised and len(ids) > _SHORT):
            return None
        return sum(token not in self._control_ids for token in ids)

    def _is_bos_typed(self, encoded: Encoded) -> bool:
        return bool(self._bos_text) and any(self._bos_text in answer for answer in encoded.answers or ())

    def _compare(self, encoded: Encoded, labels: list[int]) -> tuple[bool | None, str | None, float | None]:
        if not self.masked or not encoded.answers or self.tokenizer is None:
            return None, None, None
        return self._comparison.compare(encoded.input_ids, labels, encoded.answers)


def _label_mismatches(encoded: Encoded) -> tuple[int, bool]:
    """Labels that are not the row's own ids: how many, and whether all of them are the next token's."""
    ids, labels = encoded.input_ids, encoded.labels
    if encoded.answers is not None or labels == ids:
        return 0, False
    wrong = sum(label not in (IGNORED, token) for token, label in zip(ids, labels, strict=True))
    if not wrong:
        return 0, False
    ahead = zip(ids[1:], labels, strict=False)
    num_ahead = sum(label in (IGNORED, token) for token, label in ahead)
    return wrong, num_ahead == len(ids) - 1
