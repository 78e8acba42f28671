"""The order of turns: what is out of order, and whether that is why a template refuses a conversation."""

from __future__ import annotations

import itertools
from typing import Any

from hotfire_workers.train.data.rowerror import RowError


def order_problems(messages: list[dict[str, Any]]) -> list[str]:
    """What is out of order: "same_role_twice", "assistant_first", "no_assistant", "system_later"."""
    roles = [message["role"] for message in messages]
    turns = [m for m in messages if m["role"] != "system"]
    problems = []
    if any(_is_twice(a, b) for a, b in itertools.pairwise(turns)):
        problems.append("same_role_twice")
    if turns and turns[0]["role"] == "assistant":
        problems.append("assistant_first")
    if not any(m["role"] == "assistant" for m in turns):
        problems.append("no_assistant")
    if "system" in roles[1:]:
        problems.append("system_later")
    return problems


def order_is_to_blame(template: Any, messages: list[dict[str, Any]], tools: Any = None) -> bool:
    """Whether the template takes the same turns once they are in order.

    Args:
        template: A `ChatTemplate` that refuses them as they are.
        messages: The turns.
        tools: The row's tools.
    """
    problems = set(order_problems(messages)) - {"no_assistant"}
    if not problems:
        return False
    try:
        template.text(_in_order(messages), tools=tools)
    except RowError:
        return False
    return True


def _is_twice(one: dict[str, Any], other: dict[str, Any]) -> bool:
    """Two turns of the user, or of the assistant, of which the first is no call of a tool."""
    return (
        one["role"] == other["role"]
        and one["role"] in ("user", "assistant")
        and not one.get("tool_calls")
        and not other.get("tool_calls")
    )


def _in_order(messages: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """System first, then a user's turn, equal neighbours made one."""
    system = [m for m in messages if m["role"] == "system"][:1]
    turns = [m for m in messages if m["role"] != "system"]
    if turns and turns[0]["role"] == "assistant":
        turns = turns[1:]
    kept = [turn for i, turn in enumerate(turns) if i == 0 or not _is_twice(turns[i - 1], turn)]
    return [*system, *kept]
