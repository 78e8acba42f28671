"""Writes `docs/rules`: one page for every rule, from its docstring, and the list of all.

python scripts/gen_rule_docs.py            # write the pages
python scripts/gen_rule_docs.py --check    # exit 1 if the committed ones are stale
"""

from __future__ import annotations

import itertools
import sys
from pathlib import Path

from hotfire.rules.engine import all_rules
from hotfire.rules.page import page

FOLDER = Path(__file__).resolve().parent.parent / "docs" / "rules"
INDEX = "README.md"


def pages() -> dict[str, str]:
    """File name -> text, of every page and the list."""
    rules = all_rules()
    result = {f"{rule.id}-{rule.name}.md": page(rule) for rule in rules}
    lines = [
        "# Rules",
        "",
        "Made by `scripts/gen_rule_docs.py` from the rules' docstrings; `hotfire rules ID` shows the same.",
    ]
    for category, group in itertools.groupby(rules, key=lambda rule: rule.category):
        lines += ["", f"## {category.capitalize()}", "", "| id | rule | severity | what it finds |"]
        lines.append("| --- | --- | --- | --- |")
        for rule in group:
            link = f"[{rule.name}]({rule.id}-{rule.name}.md)"
            summary = rule.summary.replace("|", "\\|")
            lines.append(f"| {rule.id} | {link} | {rule.severity.lower()} | {summary} |")
    result[INDEX] = "\n".join(lines) + "\n"
    return result


def stale(folder: Path = FOLDER) -> list[str]:
    """Names of files that are missing, differ, or belong to no rule."""
    fresh = pages()
    there = {path.name: path.read_text(encoding="utf-8") for path in folder.glob("*.md")}
    return sorted(name for name in fresh.keys() | there.keys() if fresh.get(name) != there.get(name))


def write(folder: Path = FOLDER) -> None:
    """Brings the folder up to date."""
    folder.mkdir(parents=True, exist_ok=True)
    fresh = pages()
    for path in folder.glob("*.md"):
        if path.name not in fresh:
            path.unlink()
    for name, text in fresh.items():
        (folder / name).write_text(text, encoding="utf-8")


def main() -> int:
    if "--check" in sys.argv:
        names = stale()
        if names:
            print(f"stale pages, run scripts/gen_rule_docs.py: {', '.join(names)}")
        return bool(names)
    write()
    print(f"{len(pages())} pages in {FOLDER}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
