"""docs/rules is what the docstrings say."""

import importlib.util
from pathlib import Path

import pytest

from hotfire.rules.engine import all_rules
from hotfire.rules.page import body, page

SCRIPT = Path(__file__).parents[3] / "scripts" / "gen_rule_docs.py"


@pytest.fixture
def script():
    spec = importlib.util.spec_from_file_location("gen_rule_docs", SCRIPT)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_committed_pages_are_fresh(script):
    assert script.stale() == []


def test_a_stale_missing_or_left_over_page_is_noticed(script, tmp_path):
    script.write(tmp_path)
    assert script.stale(tmp_path) == []
    first, second = sorted(tmp_path.glob("C*.md"))[:2]
    first.write_text("old\n")
    second.unlink()
    (tmp_path / "X999-gone.md").write_text("# X999\n")
    assert script.stale(tmp_path) == [first.name, second.name, "X999-gone.md"]
    script.write(tmp_path)
    assert script.stale(tmp_path) == []


@pytest.mark.parametrize("rule", all_rules(), ids=lambda rule: rule.id)
def test_every_page_has_its_sections_as_text(rule):
    text = page(rule)
    assert text.startswith(f"# {rule.id} {rule.name}\n\n{rule.summary}\n")
    for section in ("Why", "Example", "Fix", "Source"):
        assert f"\n## {section}\n\n" in text
    # Four blanks would make a code block of it.
    assert not body(rule).split("\n\n", 1)[1].startswith("    ")
