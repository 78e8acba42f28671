"""Turns of a conversation, brought to role and content: OpenAI messages and the ShareGPT layout."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from hotfire_workers.train.data.rowerror import RowError, encodable, kind_of, names_of

SHAREGPT_ROLES = {"human": "user", "gpt": "assistant", "observation": "tool", "function_call": "assistant"}
"""What LLaMA-Factory, axolotl and ms-swift make of the roles of `conversations` rows."""


def messages_of(
    turns: Any, name: str, role_mapping: Mapping[str, str], *, is_sharegpt: bool = False
) -> list[dict[str, Any]]:
    """The turns as dicts with role and content (and what else a turn has).

    Args:
        turns: What the row has.
        name: Where it has it, for error texts.
        role_mapping: Role of the data -> role of the chat template.
        is_sharegpt: from/value may stand for role/content, and its role names are mapped.

    Raises:
        RowError: They are no turns.
    """
    if isinstance(turns, str):
        looks = turns.lstrip().startswith(("[", "{"))
        hint = ": it looks like JSON written as a text; parse it before it is saved" if looks else ""
        raise RowError(f"field {name!r} is a text, not a list of messages{hint}")
    if not isinstance(turns, list):
        raise RowError(f"field {name!r} is {kind_of(turns)}, not a list of messages")
    if not turns:
        raise RowError(f"field {name!r} is an empty list")
    return [
        _message(turn, f"{name}[{i}]", role_mapping, is_sharegpt=is_sharegpt) for i, turn in enumerate(turns)
    ]


def _message(turn: Any, where: str, role_mapping: Mapping[str, str], *, is_sharegpt: bool) -> dict[str, Any]:
    if not isinstance(turn, dict):
        raise RowError(f"{where} is {kind_of(turn)}, not an object with role and content")
    # Parquet and Arrow give every turn every field that one of them has, as null.
    turn = {key: value for key, value in turn.items() if value is not None or key in ("role", "content")}
    if is_sharegpt:
        turn = {{"from": "role", "value": "content"}.get(key, key): value for key, value in turn.items()}
    if "role" not in turn:
        hint = (
            "; from/value is the ShareGPT layout: its column is called conversations"
            if "from" in turn
            else ""
        )
        raise RowError(f"{where} has no 'role'; it has {names_of(turn)}{hint}")
    if not isinstance(turn["role"], str):
        raise RowError(f"{where}.role is {kind_of(turn['role'])}, not a text")
    content = turn.get("content")
    if content is None and not turn.get("tool_calls"):
        raise RowError(f"{where} has no 'content'; it has {names_of(turn)}")
    if content is not None and not isinstance(content, str | list):
        raise RowError(f"{where}.content is {kind_of(content)}, not a text")
    if isinstance(content, str):
        encodable(content, f"{where}.content")
    role = turn["role"]
    if role in role_mapping:
        return {**turn, "role": role_mapping[role]}
    if is_sharegpt and role in SHAREGPT_ROLES:
        turn = {**turn, "role": SHAREGPT_ROLES[role]}
        if role == "function_call" and (calls := _calls(content)):
            turn = {**turn, "content": "", "tool_calls": calls}
    return turn


def _calls(content: Any) -> list[dict[str, Any]]:
    """The calls in the text of a function_call turn; none where it is no JSON of that kind."""
    try:
        found = json.loads(content) if isinstance(content, str) else content
    except (ValueError, RecursionError):
        return []
    calls = found if isinstance(found, list) else [found]
    if not all(isinstance(call, dict) and isinstance(call.get("name"), str) for call in calls):
        return []
    return [
        {"type": "function", "function": {"name": call["name"], "arguments": call.get("arguments", {})}}
        for call in calls
    ]


def tools_of(value: Any, name: str) -> list[Any] | None:
    """The tools of a row: a list, or JSON of one, as datasets have them that a table holds.

    Raises:
        RowError: Something else.
    """
    if isinstance(value, str) and value.strip():
        try:
            value = json.loads(value)
        except (ValueError, RecursionError) as error:
            raise RowError(f"field {name!r} is a text that is no JSON list of tools") from error
    if not value:
        return None
    if not isinstance(value, list):
        raise RowError(f"field {name!r} is {kind_of(value)}, not a list of tools")
    return value
