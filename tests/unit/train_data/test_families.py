"""Every data and model rule through real tokenizers of four families: one fault, one rule; and healthy twins."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from tests.unit.train_data import bad_jobs
from tests.unit.train_data.bad_jobs import BAD, Bad, chats, pairs, tokenized
from tests.unit.train_data.families import Family, look, loud, loud_rules


@pytest.mark.parametrize("bad", BAD, ids=lambda bad: bad.name)
def test_one_fault_one_rule(bad: Bad, family: Family, tmp_path: Path) -> None:
    if family.name not in bad.families:
        pytest.skip(f"not a fault that {family.name} can have")
    job = bad.make(family)
    evidence = look(family, tmp_path, job.rows, job.training, data=job.data, config=job.config)
    told = [f"{f.rule_id} {f.severity}: {f.message}" for f in loud(evidence)]
    assert loud_rules(evidence) == bad.rules, told


HEALTHY: dict[str, Any] = {
    "answers only": lambda fam: (chats(), {"assistant_only_loss": True, "max_length": 256}),
    "everything": lambda fam: (chats(), {}),
    "completions only": lambda fam: (pairs(fam), {"completion_only_loss": True}),
    "plain text": lambda fam: ([{"text": f"Line {i} of the sea."} for i in range(24)], {}),
    "ids and labels": lambda fam: (tokenized(fam), {}),
    "packed": lambda fam: (chats(), {"assistant_only_loss": True, "packing": True}),
    "adapter": lambda fam: (
        chats(),
        {"assistant_only_loss": True, "peft": {"r": 2, "target_modules": ["q_proj", "v_proj"]}},
    ),
    "adapter on all": lambda fam: (chats(), {"peft": {"r": 2, "target_modules": "all-linear"}}),
    "frozen part": lambda fam: (chats(), {"frozen": ["embed_tokens"]}),
    "own pad token": lambda fam: (chats(), {"collator": "PADDING", "pad_token": fam.tokenizer.eos_token}),
}


@pytest.mark.parametrize("name", HEALTHY)
def test_healthy_twins(name: str, family: Family, tmp_path: Path) -> None:
    rows, training = HEALTHY[name](family)
    evidence = look(family, tmp_path, rows, training)
    assert [f"{f.rule_id}: {f.message}" for f in loud(evidence)] == []


def test_every_rule_of_the_catalogue_has_a_bad_example() -> None:
    told = set().union(*(bad.rules for bad in bad_jobs.BAD))
    # D118 only informs; D119, D120, M109 and M110 are about files and have tests of their own.
    wanted = {f"D{n}" for n in range(101, 120)} | {f"M{n}" for n in (*range(101, 107), 109, 110)}
    assert wanted - told == {"D118", "D119", "M109", "M110"}
