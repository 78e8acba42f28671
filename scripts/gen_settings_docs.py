"""Writes docs/settings.md from the settings classes and the texts under their fields; `--check` only compares."""

from __future__ import annotations

import ast
import inspect
import sys
import textwrap
from pathlib import Path
from typing import Any

from pydantic_core import PydanticUndefined
from pydantic_settings import BaseSettings

from hotfire_service.settings import ServiceSettings
from hotfire_service.store.settings import StoreSettings
from hotfire_workers.settings import WorkerSettings

ROOT = Path(__file__).parents[1]
PAGE = ROOT / "docs" / "settings.md"
HEAD = """# Every setting

Written by `scripts/gen_settings_docs.py` from the settings classes: change the texts there. Lists are JSON, or items
between colons; the service also reads a TOML file (`hotfire serve --config FILE`, `HOTFIRE_SERVICE_CONFIG`), below the
environment. [Operating Hotfire](operate.md) says which of them a first installation needs.
"""
PARTS = (
    (
        StoreSettings,
        "Store: service and every worker, the same values",
        "",
    ),
    (ServiceSettings, "Service", ""),
    (WorkerSettings, "Worker", ""),
)
_DEFAULTS = {"artifacts_url": "~/.cache/hotfire/artifacts", "cache_dir": "~/.cache/hotfire"}


def texts_of(settings: type[BaseSettings]) -> dict[str, str]:
    """Field -> the docstring under it."""
    (body,) = ast.parse(textwrap.dedent(inspect.getsource(settings))).body
    assert isinstance(body, ast.ClassDef)
    found: dict[str, str] = {}
    last = None
    for node in body.body:
        if isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name):
            last = node.target.id
        elif last and isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant):
            found[last] = " ".join(str(node.value.value).split())
            last = None
        else:
            last = None
    return found


def default_of(name: str, field: Any) -> str:
    """The default as an operator would write it."""
    if name in _DEFAULTS:
        return f"`{_DEFAULTS[name]}`"
    value = field.default if field.default_factory is None else field.default_factory()
    if value is PydanticUndefined or value is None or value in ([], {}):
        return ""
    if isinstance(value, bool):
        return f"`{str(value).lower()}`"
    if isinstance(value, list):
        return f"`{':'.join(value)}`"
    return f"`{value:g}`" if isinstance(value, float) else f"`{value}`"


def page() -> str:
    """The whole page."""
    parts = [HEAD]
    for settings, title, note in PARTS:
        prefix = settings.model_config["env_prefix"]
        texts = texts_of(settings)
        rows = []
        for name, field in settings.model_fields.items():
            text = texts.get(name, "").replace("|", "\\|")
            rows.append(f"| `{prefix}{name.upper()}` | {default_of(name, field)} | {text} |")
        parts.append(f"\n## {title}\n\n" + (f"{note}\n\n" if note else ""))
        parts.append("| variable | default | what |\n|---|---|---|\n" + "\n".join(rows) + "\n")
    return "".join(parts)


def main(arguments: list[str]) -> int:
    """Returns 1 if `--check` finds the page stale."""
    text = page()
    if "--check" in arguments:
        if PAGE.is_file() and PAGE.read_text() == text:
            return 0
        print(f"{PAGE.relative_to(ROOT)} is stale: run scripts/gen_settings_docs.py", file=sys.stderr)
        return 1
    PAGE.write_text(text)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
