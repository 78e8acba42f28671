"""Batches, against the real collators of transformers."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.unit.train_data.specimens import make_tokenizer

from hotfire_workers.train.collate import make_collator
from hotfire_workers.train.data.measure import collated_labels

ROWS = st.lists(st.lists(st.integers(0, 380), min_size=1, max_size=12), min_size=1, max_size=5)


@pytest.mark.parametrize("pad_token", ["<|endoftext|>", "<|observation|>"])
@pytest.mark.parametrize("side", ["left", "right"])
def test_language_modeling_equals_the_collator_of_transformers(pad_token: str, side: str) -> None:
    from transformers import DataCollatorForLanguageModeling

    tokenizer = make_tokenizer(pad_token=pad_token, padding_side=side)
    theirs = DataCollatorForLanguageModeling(tokenizer, mlm=False)
    pad = tokenizer.pad_token_id

    @settings(max_examples=30, deadline=None)
    @given(rows=ROWS)
    def agrees(rows: list[list[int]]) -> None:
        expected = theirs([{"input_ids": ids, "attention_mask": [1] * len(ids)} for ids in rows])
        ours = make_collator({}, {"pad_token_id": pad, "extra": {"padding_side": side}})(
            [
                {
                    "input_ids": ids,
                    "labels": collated_labels(ids, ids, collator="LANGUAGE_MODELING", pad_token_id=pad),
                    "attention_mask": [1] * len(ids),
                }
                for ids in rows
            ]
        )
        for name in ("input_ids", "labels", "attention_mask"):
            assert torch.equal(ours[name], expected[name]), name

    agrees()


def test_padding_keeps_labels_and_masks_what_it_adds() -> None:
    rows = [
        {"input_ids": [1, 2, 3], "labels": [-100, 2, 3], "attention_mask": [1, 1, 1]},
        {"input_ids": [4], "labels": [4], "attention_mask": [0]},
    ]
    batch = make_collator({"padding_side": "left"}, {"pad_token_id": 9})(rows)
    assert batch["input_ids"].tolist() == [[1, 2, 3], [9, 9, 4]]
    assert batch["labels"].tolist() == [[-100, 2, 3], [-100, -100, 4]]
    assert batch["attention_mask"].tolist() == [[1, 1, 1], [0, 0, 0]]
    assert set(batch) == {"input_ids", "labels", "attention_mask"}
    assert all(tensor.dtype == torch.int64 for tensor in batch.values())


def test_the_tokenizer_fills_in_what_the_evidence_does_not_say(tmp_path: Path) -> None:
    tokenizer: Any = make_tokenizer(pad_token="<|user|>", padding_side="left")
    rows = [{"input_ids": ids, "labels": ids, "attention_mask": [1] * len(ids)} for ids in ([1, 2], [3])]
    assert make_collator({}, {}, tokenizer)(rows)["input_ids"].tolist() == [[1, 2], [4, 3]]
