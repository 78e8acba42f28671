"""GLM-4 issue 251 as it reaches us: apply_chat_template returned [[ids]], and the `[0]` was lost."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from tests.unit.train_data import specimens
from tests.unit.train_data.families import judged, loud_rules
from tests.unit.train_data.specimens import chat, make_tokenizer, write_model, write_rows

from hotfire.rules.evidence import (
    DataEvidence,
    Evidence,
    ModelFacts,
    PreparedRow,
    PrepareRequest,
    RejectedRow,
)
from hotfire_workers.train.prepare import run

CHATS = [chat(f"What is the capital of country {i}?", f"The town number {i}.") for i in range(12)]

NESTING = """
from transformers import PreTrainedTokenizerFast


class NestingTokenizer(PreTrainedTokenizerFast):
    def apply_chat_template(self, conversation, tokenize=True, **how):
        found = super().apply_chat_template(conversation, tokenize=tokenize, **how)
        return [found] if isinstance(found, list) else found
"""


def look(tmp_path: Path, folder: Path, rows: list[Any], training: dict[str, Any], **request: Any) -> Evidence:
    model = {"path": str(folder), "init": "RANDOM", **request.pop("model", {})}
    path = write_rows(tmp_path / "rows.jsonl", rows)
    out = tmp_path / "out"
    run(
        PrepareRequest(
            out_dir=str(out),
            model=model,
            data={"path": str(path)},
            training=training,
            make_weights=False,
            **request,
        )
    )
    facts = ModelFacts(**json.loads((out / "model.json").read_text()))
    data = DataEvidence(**json.loads((out / "data.json").read_text()))
    data.rows = [PreparedRow(**row) for row in data.rows]  # type: ignore[arg-type]
    data.rejected = [RejectedRow(**row) for row in data.rejected]  # type: ignore[arg-type]
    spec = {"deepspeed": {}, "training": training, "data": {}, "model": {}, "cluster": {}}
    return Evidence(training=training, model=facts, data=data, spec=spec)


def as_the_demo_does(row: dict[str, Any], *, nested: bool) -> dict[str, Any]:
    """`finetune.py` of GLM-4, June 2024, with a tokenizer that returns a flat or a nested list."""
    tokenizer = make_tokenizer(specimens.GLM)
    ids, masks = tokenizer.convert_tokens_to_ids(["[gMASK]", "<sop>"]), [False, False]
    for message in row["messages"]:
        turn = tokenizer.apply_chat_template([message], tokenize=True, return_dict=False)
        new = ([turn] if nested else turn)[2:]  # the bug: it should be [0][2:]
        ids, masks = ids + new, masks + [message["role"] == "assistant"] * len(new)
    ids.append(tokenizer.convert_tokens_to_ids("<|user|>"))
    masks = [False, *masks]
    labels = [i if m else -100 for i, m in zip(ids, masks, strict=True)]
    return {"input_ids": ids, "labels": labels}


def test_rows_that_the_demo_left_without_a_turn(tmp_path: Path) -> None:
    folder = write_model(tmp_path / "m", weights=False)
    evidence = look(tmp_path, folder, [as_the_demo_does(row, nested=True) for row in CHATS], {})
    assert loud_rules(evidence) == {"D101"}
    (finding,) = [f for f in judged(evidence).findings if f.rule_id == "D101"]
    assert "nothing but control tokens" in finding.message
    assert "[[ids]]" in finding.message
    assert "without taking [0] first" in finding.message
    assert finding.evidence["causes"] == {"hollow": 12}
    assert "[0]" in finding.fix.description


def test_the_same_code_with_a_flat_list_keeps_the_answers(tmp_path: Path) -> None:
    folder = write_model(tmp_path / "m", weights=False)
    evidence = look(tmp_path, folder, [as_the_demo_does(row, nested=False) for row in CHATS], {})
    assert "D101" not in loud_rules(evidence)


def test_rows_that_are_left_empty(tmp_path: Path) -> None:
    folder = write_model(tmp_path / "m", weights=False)
    evidence = look(tmp_path, folder, [{"input_ids": [], "labels": []}] * 12, {})
    assert loud_rules(evidence) == {"D114"}
    (finding,) = judged(evidence).findings
    assert finding.message.startswith("input_ids is empty in 12 rows of 12.")
    assert "without taking [0] first" in finding.message
    assert finding.location.row == 1


def test_rows_that_hold_nested_ids(tmp_path: Path) -> None:
    folder = write_model(tmp_path / "m", weights=False)
    ids = make_tokenizer().apply_chat_template(CHATS[0]["messages"], tokenize=True, return_dict=False)
    evidence = look(tmp_path, folder, [{"input_ids": [ids], "labels": [ids]}] * 12, {})
    assert loud_rules(evidence) == {"D114"}
    (finding,) = judged(evidence).findings
    assert finding.message.startswith("input_ids is [[ids]], a list in a list, in 12 rows of 12")
    assert "without taking [0]" in finding.message


def test_a_tokenizer_with_its_own_code_that_nests(tmp_path: Path) -> None:
    folder = write_model(tmp_path / "m", weights=False)
    (folder / "tokenization_nesting.py").write_text(NESTING)
    path = folder / "tokenizer_config.json"
    config = json.loads(path.read_text())
    config["auto_map"] = {"AutoTokenizer": [None, "tokenization_nesting.NestingTokenizer"]}
    config["tokenizer_class"] = "NestingTokenizer"
    path.write_text(json.dumps(config))
    asked = {"trust_remote_code": True}
    refused = look(tmp_path, folder, CHATS, {}, model=asked)
    assert refused.model.blocked == "remote-code"
    evidence = look(
        tmp_path, folder, CHATS, {"assistant_only_loss": True}, model=asked, allow_remote_code=True
    )
    assert {row.kind for row in evidence.data.rejected} == {"nested-output"}
    assert loud_rules(evidence) == {"D114"}
    (finding,) = judged(evidence).findings
    assert finding.message.startswith("apply_chat_template of this tokenizer returns [[ids]]")
    assert "without taking [0] first" in finding.message
