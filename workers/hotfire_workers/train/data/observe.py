"""What rows show besides their numbers: roles out of order, broken text, doubled prefixes."""

from __future__ import annotations

import itertools
import re
from collections import Counter, defaultdict
from collections.abc import Mapping
from typing import Any

from hotfire_workers.train.data.encode import Encoded
from hotfire_workers.train.data.formats import Item

_MAX_LISTED = 50
# UTF-8 read as Latin-1 or Windows-1252: a lead byte's character followed by a continuation byte's.
_MOJIBAKE = re.compile(
    "[\u00c3\u00c2][\u0080-\u00bf]|\u00e2\u20ac[\u0080-\u00bf\u2122\u0153\u201c\u201d\u02dc]|\u00ef\u00bf\u00bd"
)


class Observer:
    """Looks at every usable row once; `facts` gives what it saw, for `DataEvidence.extra`."""

    def __init__(self, tokenizer: Any, *, expected_prefix: list[str]):
        self._special = _special_pattern(tokenizer)
        self._unknown_id = getattr(tokenizer, "unk_token_id", None)
        self._special_ids = set(tokenizer.all_special_ids) if tokenizer is not None else set()
        self._tokenizer = tokenizer
        self._expected_prefix = expected_prefix
        self._columns: Counter[str] = Counter()
        self._rows: defaultdict[str, list[int]] = defaultdict(list)
        self._roles: Counter[str] = Counter()
        self._typed: list[dict[str, Any]] = []
        self._prefixes: Counter[tuple[int, ...]] = Counter()
        self._num_unknown = 0
        self._num_tokens = 0

    def see_value(self, value: Mapping[str, Any]) -> None:
        """A row as it stands in the file: its columns."""
        self._columns.update(str(key)[:60] for key in list(value)[:200])

    def see(self, item: Item, encoded: Encoded) -> None:
        """A row that could be tokenised."""
        if item.messages is not None:
            self._see_roles(item.row, [m["role"] for m in item.messages])
            for message in item.messages:
                self._see_typed_tokens(item.row, message)
                self._see_text(item.row, message.get("content"))
        else:
            self._see_text(item.row, item.text)
        self._see_ids(item.row, encoded.input_ids)

    def facts(self) -> dict[str, Any]:
        """What was seen. Lists of rows hold at most 50, `num_...` count all."""
        facts: dict[str, Any] = {
            "columns": dict(self._columns),
            "roles": dict(self._roles),
            "typed_special_tokens": self._typed[:_MAX_LISTED],
            "num_typed_special_tokens": len(self._typed),
            "num_unknown_tokens": self._num_unknown,
            "num_tokens": self._num_tokens,
            "expected_prefix": self._expected_prefix,
            "prefix_tokens": self._most_common_prefix(),
        }
        for name in (
            "same_role_twice_rows",
            "assistant_first_rows",
            "no_assistant_rows",
            "ends_with_user_rows",
            "replacement_character_rows",
            "mojibake_rows",
            "unknown_token_rows",
            "doubled_prefix_rows",
            "missing_prefix_rows",
        ):
            facts[name] = self._rows[name][:_MAX_LISTED]
            facts[f"num_{name}"] = len(self._rows[name])
        return facts

    def _see_roles(self, row: int, roles: list[str]) -> None:
        self._roles.update(roles)
        turns = [role for role in roles if role != "system"]
        if any(a == b for a, b in itertools.pairwise(turns) if a in ("user", "assistant")):
            self._rows["same_role_twice_rows"].append(row)
        if turns and turns[0] == "assistant":
            self._rows["assistant_first_rows"].append(row)
        if "assistant" not in turns:
            self._rows["no_assistant_rows"].append(row)
        elif turns[-1] == "user":
            self._rows["ends_with_user_rows"].append(row)

    def _see_typed_tokens(self, row: int, message: Mapping[str, Any]) -> None:
        content = message.get("content")
        if self._special and isinstance(content, str):
            for token in dict.fromkeys(self._special.findall(content)):
                self._typed.append({"row": row, "role": message["role"], "token": token})

    def _see_text(self, row: int, text: Any) -> None:
        if not isinstance(text, str) or text.isascii():
            return
        for name, found in (
            ("replacement_character_rows", "\ufffd" in text),
            ("mojibake_rows", _MOJIBAKE.search(text) is not None),
        ):
            if found and self._rows[name][-1:] != [row]:
                self._rows[name].append(row)

    def _see_ids(self, row: int, ids: list[int]) -> None:
        self._num_tokens += len(ids)
        if self._unknown_id is not None and (unknown := ids.count(self._unknown_id)):
            self._num_unknown += unknown
            self._rows["unknown_token_rows"].append(row)
        num = next((i for i, token in enumerate(ids[:8]) if token not in self._special_ids), min(len(ids), 8))
        prefix = tuple(ids[:num])
        self._prefixes[prefix] += 1
        if any(prefix[:n] == prefix[n : 2 * n] for n in range(1, num // 2 + 1)):
            self._rows["doubled_prefix_rows"].append(row)
        if self._expected_prefix:
            expected = tuple(self._tokenizer.convert_tokens_to_ids(self._expected_prefix))
            if tuple(ids[: len(expected)]) != expected:
                self._rows["missing_prefix_rows"].append(row)

    def _most_common_prefix(self) -> list[str]:
        if not self._prefixes or self._tokenizer is None:
            return []
        return [
            str(t) for t in self._tokenizer.convert_ids_to_tokens(list(self._prefixes.most_common(1)[0][0]))
        ]


def expected_prefix(tokenizer: Any, model_type: str | None) -> list[str]:
    """Tokens with which every row of this model family begins: GLM's [gMASK]<sop>."""
    if tokenizer is None or not str(model_type or "").startswith(("glm", "chatglm")):
        return []
    vocabulary = tokenizer.get_vocab()
    return ["[gMASK]", "<sop>"] if {"[gMASK]", "<sop>"} <= set(vocabulary) else []


def _special_pattern(tokenizer: Any) -> re.Pattern[str] | None:
    """Matches the control tokens of this tokenizer that a user could type."""
    if tokenizer is None:
        return None
    added = getattr(tokenizer, "added_tokens_decoder", {})
    tokens = {
        t.content for t in added.values() if t.special and len(t.content) > 2 and not t.content.isspace()
    }
    ordered = sorted(tokens, key=len, reverse=True)
    return re.compile("|".join(map(re.escape, ordered))) if ordered else None
