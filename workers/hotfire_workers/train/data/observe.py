"""What rows show besides their numbers: order of roles, typed control tokens, broken text, prefixes, copies."""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from collections.abc import Mapping
from typing import Any

from hotfire_workers.train.data.columns import Columns
from hotfire_workers.train.data.control import control_tokens
from hotfire_workers.train.data.encode import Encoded
from hotfire_workers.train.data.formats import Item
from hotfire_workers.train.data.media import Media
from hotfire_workers.train.data.roles import order_problems

_MAX_LISTED = 50
_MAX_REMEMBERED = 500_000
"""Rows whose hashes are kept to find copies."""
# UTF-8 read as Latin-1 or Windows-1252: a lead byte's character followed by a continuation byte's.
_MOJIBAKE = re.compile(
    "[\u00c3\u00c2][\u0080-\u00bf]|\u00e2\u20ac[\u0080-\u00bf\u2122\u0153\u201c\u201d\u02dc]|\u00ef\u00bf\u00bd"
)
_MEDIA = re.compile(r"image|img|audio|video|vision|media", re.IGNORECASE)
_ROW_LISTS = (
    "same_role_twice_rows",
    "assistant_first_rows",
    "no_assistant_rows",
    "ends_with_user_rows",
    "replacement_character_rows",
    "mojibake_rows",
    "unknown_token_rows",
    "doubled_prefix_rows",
    "missing_prefix_rows",
    "typed_token_rows",
)


class Observer:
    """Looks at every usable row once; `facts` gives what it saw, for `DataEvidence.extra`.

    Args:
        tokenizer: The job's; None: there is none.
        expected_prefix: Tokens with which every row of this model family begins.
        media: Counts images and the like; None: nobody does.
    """

    def __init__(self, tokenizer: Any, *, expected_prefix: list[str], media: Media | None = None):
        self._control = control_tokens(tokenizer)
        self._typed_pattern = _typed_pattern(self._control)
        self._unknown_id = getattr(tokenizer, "unk_token_id", None)
        self._bos_id = getattr(tokenizer, "bos_token_id", None)
        self._pad_id = getattr(tokenizer, "pad_token_id", None)
        self._tokenizer = tokenizer
        self._expected_prefix = expected_prefix
        self._expected_ids = (
            tuple(tokenizer.convert_tokens_to_ids(expected_prefix)) if expected_prefix else ()
        )
        self._columns = Columns(tokenizer)
        self._media = media
        self._value: Mapping[str, Any] = {}
        self._rows: defaultdict[str, list[int]] = defaultdict(list)
        self._num: Counter[str] = Counter()
        self._roles: Counter[str] = Counter()
        self._typed: list[dict[str, Any]] = []
        self._typed_tokens: Counter[str] = Counter()
        self._prefixes: Counter[tuple[int, ...]] = Counter()
        self._first_with: dict[int, int] = {}
        self._copies: Counter[int] = Counter()
        self._num_unknown = 0
        self._num_tokens = 0

    def see_value(self, value: Mapping[str, Any]) -> None:
        """A row as it stands in the file: its columns."""
        self._value = value
        self._columns.see(value)

    def see(
        self,
        item: Item,
        encoded: Encoded,
        *,
        value: Mapping[str, Any] | None = None,
        kept: int | None = None,
        side: str = "right",
    ) -> None:
        """A row that could be tokenised.

        Args:
            item: As it was read.
            encoded: As it was tokenised.
            value: As it stands in the file; None: the row last given to `see_value`.
            kept: Tokens that truncation leaves; None: all.
            side: The end that truncation cuts off.
        """
        ids = encoded.input_ids
        value = self._value if value is None else value
        self._columns.see_usable(value, item, ids)
        if self._media is not None:
            self._media.see(value, item, ids, len(ids) if kept is None else kept, side)
        if item.messages is not None:
            self._see_roles(item.row, item.messages)
            for message in item.messages:
                self._see_typed_tokens(item.row, message)
                self._see_text(item.row, message.get("content"))
        else:
            self._see_text(item.row, item.text)
        self._see_ids(item.row, ids)
        self._see_copy(item.row, ids)

    def num_listed(self) -> int:
        """Rows that were listed for something so far."""
        return sum(map(len, self._rows.values()))

    def facts(self) -> dict[str, Any]:
        """What was seen. Lists of rows hold at most 50, `num_...` count all."""
        facts: dict[str, Any] = {
            **self._columns.facts(),
            **(self._media.facts() if self._media is not None else {}),
            "roles": dict(self._roles),
            "typed_special_tokens": self._typed[:_MAX_LISTED],
            "num_typed_special_tokens": sum(self._typed_tokens.values()),
            "typed_tokens": dict(self._typed_tokens),
            "num_unknown_tokens": self._num_unknown,
            "num_tokens": self._num_tokens,
            "expected_prefix": self._expected_prefix,
            "prefix_tokens": self._most_common_prefix(),
            "num_copies": sum(self._copies.values()),
            "most_copied": [
                {"row": self._first_with[key], "num_rows": count + 1}
                for key, count in self._copies.most_common(5)
            ],
        }
        for name in _ROW_LISTS:
            facts[name] = self._rows[name]
            facts[f"num_{name}"] = self._num[name]
        return facts

    def _note(self, name: str, row: int) -> None:
        self._num[name] += 1
        if len(self._rows[name]) < _MAX_LISTED:
            self._rows[name].append(row)

    def _see_roles(self, row: int, messages: list[dict[str, Any]]) -> None:
        self._roles.update(message["role"] for message in messages)
        problems = order_problems(messages)
        for problem in problems:
            if problem != "system_later":  # templates that mind refuse the row
                self._note(f"{problem}_rows", row)
        if "no_assistant" not in problems and messages[-1]["role"] == "user":
            self._note("ends_with_user_rows", row)

    def _see_typed_tokens(self, row: int, message: Mapping[str, Any]) -> None:
        content = message.get("content")
        if self._typed_pattern is None or not isinstance(content, str):
            return
        found = dict.fromkeys(self._typed_pattern.findall(content))
        for token in found:
            self._typed_tokens[token] += 1
            if len(self._typed) < _MAX_LISTED:
                self._typed.append({"row": row, "role": message["role"], "token": token})
        if found and self._rows["typed_token_rows"][-1:] != [row]:
            self._note("typed_token_rows", row)

    def _see_text(self, row: int, text: Any) -> None:
        if not isinstance(text, str) or text.isascii():
            return
        for name, found in (
            ("replacement_character_rows", "\ufffd" in text),
            ("mojibake_rows", _MOJIBAKE.search(text) is not None),
        ):
            if found and self._rows[name][-1:] != [row]:
                self._note(name, row)

    def _see_ids(self, row: int, ids: list[int]) -> None:
        self._num_tokens += len(ids)
        if self._unknown_id is not None and (unknown := ids.count(self._unknown_id)):
            self._num_unknown += unknown
            self._note("unknown_token_rows", row)
        begin = ids[:8]
        num = next((i for i, token in enumerate(begin) if token not in self._control), len(begin))
        prefix = tuple(ids[:num])
        self._prefixes[prefix] += 1
        if self._is_doubled(prefix):
            self._note("doubled_prefix_rows", row)
        if self._expected_ids and tuple(ids[: len(self._expected_ids)]) != self._expected_ids:
            self._note("missing_prefix_rows", row)

    def _is_doubled(self, prefix: tuple[int, ...]) -> bool:
        """Several control tokens twice over. One alone is padding, or BOS, which is counted by itself."""
        return any(
            prefix[:n] == prefix[n : 2 * n] and len(set(prefix[:n])) > 1
            for n in range(2, len(prefix) // 2 + 1)
        )

    def _see_copy(self, row: int, ids: list[int]) -> None:
        key = hash(tuple(ids))
        if key in self._first_with:
            self._copies[key] += 1
        elif len(self._first_with) < _MAX_REMEMBERED:
            self._first_with[key] = row

    def _most_common_prefix(self) -> list[str]:
        if not self._prefixes or self._tokenizer is None:
            return []
        (prefix, _), *_ = self._prefixes.most_common(1)
        return [self._control.get(token, "") for token in prefix]


def _typed_pattern(control: Mapping[int, str]) -> re.Pattern[str] | None:
    """Matches control tokens that a user could type; placeholders of media are meant to be typed."""
    tokens = {t for t in control.values() if len(t) > 2 and not t.isspace() and not _MEDIA.search(t)}
    ordered = sorted(tokens, key=len, reverse=True)
    return re.compile("|".join(map(re.escape, ordered))) if ordered else None


def expected_prefix(tokenizer: Any, model_type: str | None) -> list[str]:
    """Tokens with which every row of this model family begins: GLM's [gMASK]<sop>."""
    if tokenizer is None or not str(model_type or "").startswith(("glm", "chatglm")):
        return []
    vocabulary = tokenizer.get_vocab()
    return ["[gMASK]", "<sop>"] if {"[gMASK]", "<sop>"} <= set(vocabulary) else []
