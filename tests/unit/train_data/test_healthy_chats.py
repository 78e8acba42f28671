"""No false alarm: generated healthy chat sets (languages, code, lengths, tools, several turns) pass every rule."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from tests.unit.train_data.families import Family, look, loud

LANGUAGES = {
    "English": "the sea is wide and blue and nobody knows how deep it is today",
    "French": "où est la bibliothèque à côté de l'école près du théâtre français",
    "German": "die Straße führt über die Brücke zum schönen alten Gebäude",
    "Portuguese": "não são canções, são opções para a estação de avião à noite",
    "Vietnamese": "Ấn Độ Dương rộng lớn và sâu thẳm đến nhường nào",
    "Russian": "где находится библиотека и сколько стоит билет на поезд",
    "Greek": "η θάλασσα είναι μεγάλη και γαλάζια το πρωί",
    "Arabic": "أين تقع المكتبة وكم ثمن التذكرة إلى المدينة",
    "Hebrew": "איפה נמצאת הספרייה וכמה עולה כרטיס לרכבת",
    "Hindi": "पुस्तकालय कहाँ है और टिकट कितने का है",
    "Thai": "ห้องสมุดอยู่ที่ไหนและตั๋วราคาเท่าไร",
    "Chinese": "图书馆在哪里 火车票多少钱 今天的海很蓝",
    "Japanese": "図書館はどこですか 切符はいくらですか 海は青いです",
    "Korean": "도서관은 어디에 있습니까 기차표는 얼마입니까",
    "emoji": "😀 👍🏽 👩‍👩‍👧 🌊 ☕️ 🇫🇷 hello ✨",
    "mathematics": "∑ xᵢ² ≤ ∞, a ≠ b ∧ ∀ε>0 ∃δ: |f(x)−f(y)| < ε → √2·π ± 1",
}
CODE = (
    "```python\ndef add(a: int, b: int) -> int:\n    return a + b\n```",
    "```html\n<div class='x'><b>bold</b> & <i>more</i></div>\n```",
    "```cpp\nstd::vector<int> v{1, 2}; for (auto x : v) std::cout << x << '\\n';\n```",
    "SELECT * FROM t WHERE a <> b AND c LIKE '%d%';",
    '{"a": [1, 2, {"b": null}], "c": "</s> is not typed here"}'.replace("</s>", "an end"),
    "$ ls -la | grep '^d' && echo \"$HOME\"\t# tab",
    "[INST] is a word of one family, \\n is two characters, C:\\new\\table is a path",
    "x < y > z, a<b, List<Map<String, Integer>>, #include <stdio.h>",
)
TOOL = {
    "type": "function",
    "function": {"name": "weather", "parameters": {"type": "object", "properties": {}}},
}


def text(min_words: int = 1) -> st.SearchStrategy[str]:
    """A text in one language or in code; now and then a long one."""
    words = st.sampled_from(sorted(LANGUAGES)).flatmap(
        lambda name: st.lists(st.sampled_from(LANGUAGES[name].split()), min_size=min_words, max_size=30).map(
            " ".join
        )
    )
    long = st.tuples(st.sampled_from(sorted(LANGUAGES.values())), st.integers(2, 12)).map(
        lambda given: " ".join([given[0]] * given[1])
    )
    code = st.tuples(st.sampled_from(CODE), words).map(lambda parts: f"{parts[1]}:\n{parts[0]}")
    return st.one_of(words, words, code, long)


@st.composite
def conversation(draw: st.DrawFn) -> dict[str, Any]:
    """A conversation in order, with an answer at its end."""
    messages: list[dict[str, Any]] = []
    row: dict[str, Any] = {"messages": messages}
    if draw(st.booleans()):
        messages.append({"role": "system", "content": draw(text())})
    for _ in range(draw(st.integers(1, 4))):
        messages.append({"role": "user", "content": draw(text())})
        if draw(st.integers(0, 5)) == 0:
            call = {"type": "function", "function": {"name": "weather", "arguments": {"city": draw(text())}}}
            messages.append({"role": "assistant", "content": "", "tool_calls": [call]})
            messages.append({"role": "tool", "content": draw(text())})
            row["tools"] = [TOOL]
        messages.append({"role": "assistant", "content": draw(text())})
    return row


@st.composite
def chat_set(draw: st.DrawFn) -> tuple[list[dict[str, Any]], dict[str, Any]]:
    """Rows that all differ, and the arguments of a job that is in order."""
    rows = draw(st.lists(conversation(), min_size=3, max_size=16))
    for number, row in enumerate(rows):
        first = next(m for m in row["messages"] if m["role"] == "user")
        first["content"] = f"{number}. {first['content']}"
    training = draw(
        st.sampled_from(
            [
                {"assistant_only_loss": True},
                {"assistant_only_loss": True, "max_length": 16384},
                {"assistant_only_loss": True, "packing": True, "attn_implementation": "flash_attention_2"},
                {},
                {"collator": "PADDING", "max_length": 16384},
                {"peft": {"r": 2, "target_modules": "all-linear"}, "assistant_only_loss": True},
            ]
        )
    )
    return rows, dict(training)


def _assert_silent(family: Family, rows: list[dict[str, Any]], training: dict[str, Any]) -> None:
    with tempfile.TemporaryDirectory() as folder:
        evidence = look(family, Path(folder), rows, training)
    assert evidence.data is not None
    assert evidence.data.num_rows_usable == len(rows), evidence.data.rejected
    assert [f"{f.rule_id}: {f.message}" for f in loud(evidence)] == []


_SETTINGS = {
    "deadline": None,
    "derandomize": True,
    "phases": [Phase.explicit, Phase.generate],
    "suppress_health_check": [
        HealthCheck.too_slow,
        HealthCheck.function_scoped_fixture,
        HealthCheck.data_too_large,
    ],
}


@settings(max_examples=25, **_SETTINGS)
@given(job=chat_set())
def test_a_healthy_chat_set_is_silent(
    family: Family, job: tuple[list[dict[str, Any]], dict[str, Any]]
) -> None:
    """25 for each of the four families."""
    _assert_silent(family, *job)


@pytest.mark.slow
@settings(max_examples=150, **_SETTINGS)
@given(job=chat_set())
def test_many_healthy_chat_sets_are_silent(
    family: Family, job: tuple[list[dict[str, Any]], dict[str, Any]]
) -> None:
    _assert_silent(family, *job)
