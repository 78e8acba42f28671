"""D107 unknown-role."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable

from hotfire.rules.engine import Rule
from hotfire.rules.evidence import DataEvidence, Evidence, Finding, Fix, Location, Severity
from hotfire.rules.remedy import set_value
from hotfire.rules.wording import counted, listed

#: Names that data sets give to the three roles that every chat template knows.
_MEANING = {
    "human": "user",
    "question": "user",
    "prompter": "user",
    "customer": "user",
    "gpt": "assistant",
    "chatgpt": "assistant",
    "bot": "assistant",
    "model": "assistant",
    "ai": "assistant",
    "answer": "assistant",
    "bing": "assistant",
    "system_prompt": "system",
    "observation": "tool",
    "function_response": "tool",
}
_QUOTED = re.compile(r"role[s]?:? ['\"‘“]?([A-Za-z_][\w-]*)['\"’”]?", re.IGNORECASE)


class UnknownRole(Rule):
    """A turn has a role that the chat template does not know.

    Why:
        Templates either raise on such a turn or drop it without a word. A dropped assistant turn leaves a row
        without anything to learn.

    Example:
        `{"from": "human"}` and `{"from": "gpt"}` (ShareGPT) with a template that knows system, user,
        assistant.

    Fix:
        `data.role_mapping`, proposed as a patch where the name's meaning is common knowledge.

    Source:
        zai-org/GLM-4 issue 251; hiyouga/ChatGLM-Efficient-Tuning issue 188; the ShareGPT convention.
    """

    id = "D107"
    name = "unknown-role"
    severity = Severity.ERROR
    needs = ("data",)

    def examine(self, evidence: Evidence) -> Iterable[Finding]:
        """One finding for all rows that were refused for a role."""
        data = evidence.data
        assert data is not None
        refused = [row for row in data.rejected if row.kind == "unknown-role"]
        if not refused:
            return
        roles = _roles(data)
        mapping = _mapping(data, roles)
        named = f": {listed(repr(role) for role in roles)}" if roles else ""
        fix = Fix(
            description="Map the role names of the data to those of the template with data.role_mapping."
        )
        if mapping:
            existing = evidence.spec.get("data", {}).get("role_mapping") or {}
            fix = Fix(
                description="Map "
                + ", ".join(f"{role} to {meaning}" for role, meaning in mapping.items())
                + ".",
                patch=[set_value(evidence, "/data/role_mapping", {**existing, **mapping})],
            )
        yield Finding(
            message=f"{counted(len(refused), 'row has', 'rows have')} a role that the chat template does "
            f"not know{named}. {'Row' if len(refused) == 1 else 'Rows'} {listed(row.row for row in refused)} "
            "cannot be used.",
            location=Location(row=refused[0].row, config_path="/data/role_mapping"),
            evidence={
                "roles": dict(roles),
                "rows": [row.row for row in refused[:20]],
                "reason": refused[0].reason,
                "first_characters": refused[0].excerpt,
                "num_rows_read": data.num_rows_read,
            },
            fix=fix,
        )


def _mapping(data: DataEvidence, roles: Iterable[str]) -> dict[str, str]:
    """Role of the data -> role of the template: as tried with the template, else by its usual meaning."""
    suggested = data.extra.get("role_suggestions") or {}
    known = {role: str(suggested.get(role) or _MEANING.get(role.lower()) or "") for role in roles}
    return {role: meaning for role, meaning in known.items() if meaning}


def _roles(data: DataEvidence) -> Counter[str]:
    """The names of the unknown roles and how often they occur."""
    known = data.extra.get("unknown_roles")
    if isinstance(known, dict) and known and all(isinstance(count, int) for count in known.values()):
        return Counter(known)
    found: Counter[str] = Counter()
    for row in data.rejected:
        if row.kind == "unknown-role" and (match := _QUOTED.search(row.reason)):
            found[match.group(1)] += 1
    return found
