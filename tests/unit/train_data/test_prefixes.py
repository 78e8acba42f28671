"""The short way to a beginning's ids gives what tokenising the beginning gives, in every family."""

from __future__ import annotations

from functools import lru_cache
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tests.unit.train_data import families, specimens

from hotfire_workers.train.data.encode import Encoded, Encoder
from hotfire_workers.train.data.formats import Item, RowError
from hotfire_workers.train.data.prefixes import Prefixes

TEXTS = st.text(max_size=12) | st.sampled_from(
    [
        "",
        " ",
        "\n",
        "\n\n a",
        "  two  ",
        "<|im_end|>",
        "a<|im_start|>b",
        "<|user|>\n",
        "\u8336\u3000",
        "it's 12",
        "\r\n",
    ]
)
QUICK = settings(max_examples=40, deadline=None, suppress_health_check=list(HealthCheck))


MAKERS = {
    "qwen": families.qwen_tokenizer,
    "deepseek": families.deepseek_tokenizer,
    "smollm2": families.smollm2_tokenizer,
    "glm without marks": lambda: specimens.make_tokenizer(specimens.GLM_WITH_END),
}


@lru_cache
def _tokenizer(name: str) -> Any:
    return MAKERS[name]()


@pytest.mark.parametrize("name", MAKERS)
@QUICK
@given(
    turns=st.lists(st.tuples(TEXTS, TEXTS), min_size=1, max_size=3), flag=st.sampled_from([None, False, True])
)
def test_masks_are_those_of_the_long_way(name: str, turns: list[tuple[str, str]], flag: bool | None) -> None:
    tokenizer = _tokenizer(name)
    messages = [
        {"role": role, "content": text}
        for pair in turns
        for role, text in zip(("user", "assistant"), pair, strict=True)
    ]
    training = {"assistant_only_loss": True, "add_special_tokens": flag}

    def encode(*, is_short: bool) -> Encoded | str:
        encoder = Encoder(tokenizer, training, shape="MESSAGES", end_ids=frozenset([tokenizer.eos_token_id]))
        if not is_short:
            encoder._prefixes = None
        try:
            return encoder.encode(Item(row=1, messages=messages))
        except RowError as error:
            return str(error)

    assert encode(is_short=True) == encode(is_short=False)


@pytest.mark.parametrize("name", MAKERS)
def test_the_short_way_is_taken(name: str) -> None:
    tokenizer = _tokenizer(name)
    prefixes = Prefixes(tokenizer)
    messages = [{"role": "user", "content": "hello there"}, {"role": "assistant", "content": "fine"}]
    whole = tokenizer.apply_chat_template(messages, tokenize=False)
    begin = tokenizer.apply_chat_template(messages[:1], tokenize=False, add_generation_prompt=True)
    ids = tokenizer(whole, add_special_tokens=False)["input_ids"]
    marks = prefixes.marks(whole, ids)
    assert marks is not None
    tail = prefixes.tail(begin, marks)
    assert tail is not None
    num, behind = tail
    assert ids[:num] + behind == tokenizer(begin, add_special_tokens=False)["input_ids"]
    assert len(behind) < 6


def test_many_rows_at_once_are_what_they_are_alone() -> None:
    tokenizer = _tokenizer("smollm2")
    items = [
        Item(
            row=i,
            messages=[{"role": "user", "content": "x" * i}, {"role": "assistant", "content": f"answer {i}"}],
        )
        for i in range(1, 20)
    ]
    encoder = Encoder(tokenizer, {"assistant_only_loss": True}, shape="MESSAGES", end_ids=frozenset())
    assert encoder.encode_all(items) == [encoder.encode(item) for item in items]
