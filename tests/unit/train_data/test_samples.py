"""Token views for people."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from hotfire_workers.train.data.samples import texts_of


def decode_bytes(ids: list[int]) -> str:
    return bytes(ids).decode("utf-8", errors="replace")


def test_a_character_of_several_tokens_stands_on_the_first_of_them():
    assert texts_of(list("a茶b".encode()), decode_bytes) == ["a", "茶", "", "", "b"]


def test_bytes_that_are_no_text_stay_visible():
    assert texts_of([0x61, 0xFF, 0x62], decode_bytes) == ["a", "\ufffd", "b"]


@given(st.text())
def test_nothing_is_lost(text):
    ids = list(text.encode())
    texts = texts_of(ids, decode_bytes)
    assert len(texts) == len(ids)
    if "\ufffd" not in text:
        assert "".join(texts) == text
