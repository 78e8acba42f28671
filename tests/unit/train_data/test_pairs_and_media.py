"""Preference pairs are judged on both sides; images and the like against their placeholders."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from tests.unit.train_data.bad_jobs import PLACES
from tests.unit.train_data.families import Family, judged, look, loud, loud_rules, make_family

from hotfire_workers.train.data.formats import Item
from hotfire_workers.train.data.media import Media


def pairs(rejected: str | None = None) -> list[dict[str, Any]]:
    return [
        {
            "prompt": [{"role": "user", "content": f"What is the capital of {place}, number {i}?"}],
            "chosen": [{"role": "assistant", "content": f"The capital number {i} is a town."}],
            "rejected": [
                {"role": "assistant", "content": f"I do not know {i}." if rejected is None else rejected}
            ],
        }
        for i, place in enumerate(PLACES)
    ]


def test_healthy_pairs(family: Family, tmp_path: Path) -> None:
    evidence = look(family, tmp_path, pairs(), {"max_length": 256})
    assert evidence.data.format == "PREFERENCE"
    assert len(evidence.data.rejected_answers or []) == len(PLACES)
    assert loud(evidence) == []


def test_empty_rejected_answers(family: Family, tmp_path: Path) -> None:
    evidence = look(family, tmp_path, pairs(rejected=""))
    assert loud_rules(evidence) == {"D109"}
    (finding,) = loud(evidence)
    assert finding.message.startswith("Of the rejected answers of the pairs: 12 of 12 rows")


def test_rejected_answers_that_are_cut(family: Family, tmp_path: Path) -> None:
    evidence = look(family, tmp_path, pairs(rejected="The sea is wide and blue. " * 60), {"max_length": 160})
    assert loud_rules(evidence) == {"D102"}
    (finding,) = loud(evidence)
    assert finding.evidence["side"] == "rejected"


def test_plain_pairs_get_their_end_token_from_the_trainer(family: Family, tmp_path: Path) -> None:
    rows = [
        {"prompt": f"Question {i}:", "chosen": f" The town of {place}.", "rejected": f" I forgot {i}."}
        for i, place in enumerate(PLACES)
    ]
    assert "D103" not in loud_rules(look(family, tmp_path, rows))


# ---- media ----

CONFIG = {"image_token_id": 7, "audio_token_index": 8}


def media(tmp_path: Path, *, processor: bool = True) -> Media:
    if processor:
        (tmp_path / "preprocessor_config.json").write_text("{}")
    return Media(CONFIG, tmp_path)


def image_row(row: int = 1, num: int = 1) -> Item:
    parts = [{"type": "image"}] * num + [{"type": "text", "text": "What is this?"}]
    return Item(row=row, messages=[{"role": "user", "content": parts}])


@pytest.mark.parametrize(
    ("value", "item", "ids", "kept", "problems"),
    [
        ({}, image_row(), [1, 7, 7, 7, 2], 5, {}),
        ({}, image_row(), [1, 7, 7, 7, 2], 3, {"image_cut"}),
        ({}, image_row(num=2), [1, 7, 2], 3, {"image_mismatch"}),
        ({"images": ["a.png"]}, Item(row=1, text="hello"), [1, 2], 2, {"image_mismatch"}),
        ({"audio": "a.wav"}, Item(row=1, text="hello"), [1, 8, 8, 2], 4, {}),
        ({}, Item(row=1, text="hello"), [1, 7, 2], 3, {"image_mismatch"}),
    ],
)
def test_placeholders(
    tmp_path: Path, value: dict[str, Any], item: Item, ids: list[int], kept: int, problems: Any
) -> None:
    seen = media(tmp_path)
    seen.see(value, item, ids, kept, "right")
    facts = seen.facts()["media"]
    assert set(facts["problems"]) == set(problems)
    assert facts["has_processor"] is True


def test_rows_without_media_say_nothing(tmp_path: Path) -> None:
    seen = media(tmp_path)
    seen.see({}, Item(row=1, text="hello"), [1, 2, 3], 3, "right")
    assert seen.facts() == {}


def test_placeholders_through_the_pipeline(tmp_path: Path) -> None:
    family = make_family("glm", tmp_path)
    token = family.tokenizer.convert_tokens_to_ids("<|observation|>")
    config = json.loads((family.folder / "config.json").read_text())
    (family.folder / "config.json").write_text(json.dumps({**config, "image_token_id": token}))
    rows = [
        {
            "messages": [
                {"role": "user", "content": "<|observation|>" * 20 + f"What is in picture {i}?"},
                {"role": "assistant", "content": f"A cat, {i}."},
            ],
            "images": [f"{i}.png"],
        }
        for i in range(12)
    ]
    (tmp_path / "a").mkdir()
    without = look(family, tmp_path / "a", rows, {"truncation_side": "left", "max_length": 24})
    (check,) = [c for c in judged(without).checks if c.rule_id == "D120"]
    assert "no processor is in the model folder" in (check.reason or "")
    (family.folder / "processor_config.json").write_text("{}")
    (tmp_path / "b").mkdir()
    cut = look(family, tmp_path / "b", rows, {"truncation_side": "left", "max_length": 24})
    (finding,) = [f for f in judged(cut).findings if f.rule_id == "D120"]
    assert finding.evidence["num_rows_affected"] == 12
    assert finding.fix.patch[0].path == "/training/max_length"
