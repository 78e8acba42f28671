"""D113 column-dropped."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from hotfire.rules.engine import Rule, Skip
from hotfire.rules.evidence import DataEvidence, Evidence, Finding, Fix, Location, Severity
from hotfire.rules.remedy import set_value
from hotfire.rules.wording import listed, percent


class ColumnDropped(Rule):
    """The column with the answer is removed before the model sees it.

    Why:
        Everything but the columns that the format (or the model's forward) knows is dropped without a word.
        Where the answer stands in another one, the model trains on questions: the loss falls, and it never
        learns to answer.

    Example:
        `{"text": "What is ...?", "answer": "..."}` read as plain text; `input_ids` made of the instruction
        alone, with `output` removed by `remove_columns`.

    Fix:
        Name the columns: `data.format: PROMPT_COMPLETION` with `data.columns` (proposed as a patch).

    Source:
        transformers Trainer `remove_unused_columns`; huggingface/trl issue 1225; the trainproof case.
    """

    id = "D113"
    name = "column-dropped"
    severity = Severity.ERROR
    needs = ("data",)

    def examine(self, evidence: Evidence) -> Iterable[Finding]:
        """ERROR where half of the rows lose their answer, WARNING below."""
        data = evidence.data
        assert data is not None
        if "unseen_answers" not in data.extra:
            raise Skip("the columns of the rows were not compared with what is made of them")
        dropped = dropped_columns(data)
        if not dropped:
            return
        name, facts = max(dropped.items(), key=lambda item: int(item[1]["num_unseen"]))
        count, rows = int(facts["num_unseen"]), list(facts["rows"])
        is_most = 2 * count >= data.num_rows_usable
        others = sorted(set(data.extra.get("columns") or {}) - set(dropped))
        yield Finding(
            message=f"The column {name!r} is dropped, and with it the answer of {count} of "
            f"{data.num_rows_usable} rows ({percent(count, data.num_rows_usable)}): rows of format "
            f"{data.format} are made of {listed(repr(o) for o in others)} alone. Rows {listed(rows)}."
            f"{'' if is_most else ' Lowered to a warning: most rows keep theirs.'}",
            severity=Severity.ERROR if is_most else Severity.WARNING,
            location=Location(row=rows[0] if rows else None, config_path="/data/columns"),
            evidence={
                "column": name,
                "num_rows_affected": count,
                "num_rows": data.num_rows_usable,
                "rows": rows[:20],
                "columns": sorted(data.extra.get("columns") or {}),
            },
            fix=_fix(evidence, data, name),
        )


def dropped_columns(data: DataEvidence) -> dict[str, dict[str, Any]]:
    """Columns with an answer that the model sees in hardly any of the rows that have one."""
    unseen = data.extra.get("unseen_answers") or {}
    return {
        name: facts
        for name, facts in unseen.items()
        if 2 * facts["num_unseen"] >= facts["num_rows"] and facts["num_unseen"] >= 0.01 * data.num_rows_usable
    }


def _fix(evidence: Evidence, data: DataEvidence, name: str) -> Fix:
    if data.format != "TEXT":
        return Fix(description=f"Put what stands in {name!r} into the row as the answer.")
    columns = (evidence.spec.get("data") or {}).get("columns") or {}
    prompt = columns.get("text", "text")
    return Fix(
        description=f"Read {prompt!r} as the prompt and {name!r} as its completion.",
        patch=[
            set_value(evidence, "/data/format", "PROMPT_COMPLETION"),
            set_value(evidence, "/data/columns", {"prompt": prompt, "completion": name}),
        ],
    )
