"""Every data and model rule through real tokenizers of four families: one fault, one rule; and healthy twins."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from tests.unit.train_data.bad_jobs import BAD, Bad, Job, chats, pairs, tokenized
from tests.unit.train_data.families import FAMILIES, Family, judged, look, loud, loud_rules
from tests.unit.train_data.test_lost_index import look as look_at_folder

from hotfire.rules.data import DATA_RULES
from hotfire.rules.evidence import Evidence, Severity
from hotfire.rules.model import MODEL_RULES

NOT_ABOUT_ROWS = {"M107", "M108"}
"""Memory: arithmetic over config.json, with pairs of its own."""
NOT_EVERY_FAMILY = {
    "D104": "only DeepSeek's tokenizer has a BOS that is nothing else",
    "M101": "the end token of ChatML has one of the highest ids: without it no row is in range",
    "M105": "only Qwen and SmolLM2 tie their embeddings",
}


def seen(family: Family, tmp_path: Path, job: Job) -> Evidence:
    return look(
        family, tmp_path, job.rows, job.training,
        data=job.data, config=job.config, content=job.content, files=job.files,
    )  # fmt: skip


@pytest.mark.parametrize("bad", BAD, ids=lambda bad: bad.name)
def test_one_fault_one_rule(bad: Bad, family: Family, tmp_path: Path) -> None:
    if family.name not in bad.families:
        pytest.skip(f"not a fault that {family.name} can have")
    evidence = seen(family, tmp_path, bad.make(family))
    told = [f"{f.rule_id} {f.severity}: {f.message}" for f in judged(evidence).findings]
    if bad.informs:
        assert {f.rule_id for f in judged(evidence).findings} == bad.rules, told
        assert loud(evidence) == []
    else:
        assert loud_rules(evidence) == bad.rules, told


@pytest.mark.parametrize("twin", sorted({bad.twin for bad in BAD}, key=lambda t: t.__name__))
def test_its_healthy_twin_is_silent(twin: Callable[[Family], Job], family: Family, tmp_path: Path) -> None:
    evidence = seen(family, tmp_path, twin(family))
    assert evidence.data is not None
    assert evidence.data.num_rows_usable == evidence.data.num_rows_read > 0
    assert [f"{f.rule_id}: {f.message}" for f in judged(evidence).findings] == []


HEALTHY: dict[str, Any] = {
    "everything": lambda fam: (chats(), {}),
    "completions only": lambda fam: (pairs(fam), {"completion_only_loss": True}),
    "plain text": lambda fam: ([{"text": f"Line {i} of the sea."} for i in range(24)], {}),
    "ids and labels": lambda fam: (tokenized(fam), {}),
    "packed without a length": lambda fam: (chats(), {"assistant_only_loss": True, "packing": True}),
    "adapter on all": lambda fam: (chats(), {"peft": {"r": 2, "target_modules": "all-linear"}}),
}


@pytest.mark.parametrize("name", HEALTHY)
def test_healthy_jobs(name: str, family: Family, tmp_path: Path) -> None:
    rows, training = HEALTHY[name](family)
    evidence = look(family, tmp_path, rows, training)
    assert [f"{f.rule_id}: {f.message}" for f in loud(evidence)] == []


# ---- faults of the model's folder ----


def _remote_code(folder: Path) -> None:
    config = json.loads((folder / "config.json").read_text())
    config["auto_map"] = {"AutoModelForCausalLM": "modeling_own.OwnForCausalLM"}
    (folder / "config.json").write_text(json.dumps(config))
    (folder / "modeling_own.py").write_text("class OwnForCausalLM: ...\n")


def _half_a_config(folder: Path) -> None:
    text = (folder / "config.json").read_text()
    (folder / "config.json").write_text(text[: len(text) // 2])


FOLDER_FAULTS: dict[str, Callable[[Path], None]] = {"M109": _remote_code, "M110": _half_a_config}


@pytest.mark.parametrize("rule", FOLDER_FAULTS)
def test_faults_of_the_folder(rule: str, family: Family, tmp_path: Path) -> None:
    folder = tmp_path / "model"
    family.tokenizer.save_pretrained(folder)
    (folder / "config.json").write_text((family.folder / "config.json").read_text())
    healthy = look_at_folder(tmp_path, folder, chats(), {"assistant_only_loss": True})
    assert [f"{f.rule_id}: {f.message}" for f in judged(healthy).findings] == []
    FOLDER_FAULTS[rule](folder)
    broken = look_at_folder(
        tmp_path, folder, chats(), {"assistant_only_loss": True}, model={"trust_remote_code": True}
    )
    assert {f.rule_id for f in judged(broken).findings} == {rule}


# ---- the list is whole ----


def test_every_registered_rule_has_a_pair() -> None:
    registered = {rule.id for rule in (*DATA_RULES, *MODEL_RULES)} - NOT_ABOUT_ROWS
    assert registered >= {f"D{n}" for n in range(101, 121)} | {f"M{n}" for n in (*range(101, 107), 109, 110)}
    families: dict[str, set[str]] = {rule: set(FAMILIES) for rule in FOLDER_FAULTS}
    for bad in BAD:
        for rule in bad.rules:
            families.setdefault(rule, set()).update(bad.families)
    assert registered - set(families) == set(), "rules without a bad example and its healthy twin"
    lacking = {rule for rule in registered if families[rule] != set(FAMILIES)}
    assert lacking == set(NOT_EVERY_FAMILY)


def test_only_rules_that_inform_are_taken_as_such() -> None:
    severities = {rule.id: rule.severity for rule in (*DATA_RULES, *MODEL_RULES)}
    informing = set().union(*(bad.rules for bad in BAD if bad.informs))
    assert informing == {rule for rule, severity in severities.items() if severity is Severity.INFO}
