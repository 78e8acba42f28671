"""A rule's docstring as its page in Markdown."""

from __future__ import annotations

import re
import textwrap

from hotfire.rules.engine import Rule

_SECTION = re.compile(r"^([A-Z][a-z]+):[ \t]*$", re.MULTILINE)


def body(rule: Rule) -> str:
    """The sections of the docstring under Markdown headings, without the summary line."""
    parts = _SECTION.split(rule.documentation)
    blocks = [textwrap.dedent(parts[0].partition("\n")[2]).strip()]
    for title, content in zip(parts[1::2], parts[2::2], strict=True):
        blocks.append(f"## {title}\n\n{textwrap.dedent(content).strip()}")
    return "\n\n".join(block for block in blocks if block)


def page(rule: Rule) -> str:
    """The whole page."""
    facts = [f"Severity: {rule.severity.lower()}", f"category: {rule.category}"]
    if rule.needs:
        facts.append(f"needs: {', '.join(rule.needs)}")
    if rule.blocks_start:
        facts.append("an error means that the job cannot start")
    return f"# {rule.id} {rule.name}\n\n{rule.summary}\n\n_{'; '.join(facts)}_\n\n{body(rule)}\n"
