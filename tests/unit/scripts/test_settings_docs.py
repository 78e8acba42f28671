"""The page of settings is what the classes say."""

import importlib.util
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[3]


@pytest.fixture(scope="module")
def generator():
    spec = importlib.util.spec_from_file_location("gen_settings_docs", ROOT / "scripts/gen_settings_docs.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_page_is_fresh(generator):
    assert generator.main(["--check"]) == 0


def test_a_stale_page_is_told(generator, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(generator, "ROOT", tmp_path)
    monkeypatch.setattr(generator, "PAGE", tmp_path / "settings.md")
    assert generator.main(["--check"]) == 1
    assert "stale" in capsys.readouterr().err
    assert generator.main([]) == 0
    assert generator.main(["--check"]) == 0


def test_every_field_has_a_row_with_its_text(generator):
    text = generator.page()
    for settings, _, _ in generator.PARTS:
        for name in settings.model_fields:
            assert f"| `{settings.model_config['env_prefix']}{name.upper()}` |" in text
    assert "A worker that does not renew its claim for so long has lost it." in text
    assert "| `HOTFIRE_STORE_LEASE_S` | `20` |" in text
