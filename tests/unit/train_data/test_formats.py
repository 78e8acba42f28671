"""Layouts: detection, columns, and what is wrong with a row."""

from __future__ import annotations

from typing import Any

import pytest

from hotfire_workers.train.data.formats import RowError, layout_of
from hotfire_workers.train.data.stream import SampleError

MESSAGES = {"messages": [{"role": "user", "content": "a"}, {"role": "assistant", "content": "b"}]}


@pytest.mark.parametrize(
    ("row", "format_"),
    [
        (MESSAGES, "MESSAGES"),
        ({"prompt": "a", "completion": "b"}, "PROMPT_COMPLETION"),
        ({"text": "a"}, "TEXT"),
        ({"input_ids": [1], "labels": [1]}, "TOKENIZED"),
        ({"text": "a", "input_ids": [1]}, "TOKENIZED"),
        ({"conversations": [{"from": "human", "value": "a"}]}, "SHAREGPT"),
        ({"instruction": "a", "input": "", "output": "b"}, "ALPACA"),
        ({"prompt": "a", "chosen": "b", "rejected": "c"}, "PREFERENCE"),
        ({"messages": [], "chosen": {}, "rejected": {}}, "PREFERENCE"),
    ],
)
def test_detection(row: dict[str, Any], format_: str) -> None:
    assert layout_of([row]).format == format_


def test_most_rows_decide() -> None:
    assert layout_of([{"text": "a"}, MESSAGES, MESSAGES]).format == "MESSAGES"


def test_other_layouts_name_the_known_ones() -> None:
    with pytest.raises(SampleError, match="'question', 'reply'") as caught:
        layout_of([{"question": "a", "reply": "b"}])
    assert "MESSAGES" in str(caught.value)
    assert "TOKENIZED" in str(caught.value)


def test_columns_and_roles_are_renamed() -> None:
    row = {"turns": [{"role": "human", "content": "a"}, {"role": "gpt", "content": "b"}]}
    layout = layout_of(
        [row], columns={"messages": "turns"}, role_mapping={"human": "user", "gpt": "assistant"}
    )
    item = layout.item(1, row)
    assert [m["role"] for m in item.messages or []] == ["user", "assistant"]
    assert item.answers == ["b"]


@pytest.mark.parametrize(
    ("row", "says"),
    [
        ({"text": "a"}, "no field 'messages'; the row has 'text'"),
        ({"messages": None}, "is null"),
        ({"messages": "hello"}, "a text, not a list"),
        ({"messages": []}, "empty list"),
        ({"messages": ["a"]}, r"messages\[0\] is a text"),
        ({"messages": [{"from": "human", "value": "a"}]}, "ShareGPT"),
        ({"messages": [{"role": 1, "content": "a"}]}, "role is a number"),
        ({"messages": [{"role": "user"}]}, "no 'content'"),
        ({"messages": [{"role": "user", "content": 7}]}, "content is a number"),
        ({"messages": [{"role": "user", "content": "\ud800"}]}, "surrogate"),
    ],
)
def test_malformed_messages(row: dict[str, Any], says: str) -> None:
    with pytest.raises(RowError, match=says) as caught:
        layout_of([MESSAGES]).item(1, row)
    assert caught.value.kind == "malformed"


@pytest.mark.parametrize(
    ("row", "says"),
    [
        ({"input_ids": [[1, 2]]}, "nested list"),
        ({"input_ids": []}, "no tokens"),
        ({"input_ids": [1, "a"]}, "a text where a whole number"),
        ({"input_ids": [1, True]}, "true or false"),
        ({"input_ids": [1.5]}, "no token id"),
        ({"input_ids": [float("nan")]}, "no token id"),
        ({"input_ids": [10**30]}, "no token id"),
        ({"input_ids": [1, 2], "labels": [1]}, "has 1 numbers, the ids are 2"),
    ],
)
def test_malformed_ids(row: dict[str, Any], says: str) -> None:
    with pytest.raises(RowError, match=says):
        layout_of([{"input_ids": [1]}]).item(1, row)


def test_numbers_that_came_as_floats_are_ids() -> None:
    assert layout_of([{"input_ids": [1]}]).item(1, {"input_ids": [1.0, 2.0]}).input_ids == [1, 2]


def test_tool_calls_need_no_content_and_make_the_answer_unknown() -> None:
    row = {"messages": [{"role": "user", "content": "a"}, {"role": "assistant", "tool_calls": [{"id": 1}]}]}
    assert layout_of([row]).item(1, row).answers is None
