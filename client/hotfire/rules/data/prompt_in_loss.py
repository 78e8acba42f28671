"""D117 prompt-in-loss."""

from __future__ import annotations

from collections.abc import Iterable

from hotfire.rules.engine import Rule, Skip
from hotfire.rules.evidence import DataEvidence, Evidence, Finding, Fix, Location, PreparedRow, Severity
from hotfire.rules.remedy import given, remove, set_value
from hotfire.rules.wording import listed, percent

_MOST = 0.95


class PromptInLoss(Rule):
    """A mask was asked for, and no prompt is masked.

    Why:
        The loss then counts the prompt too, which is often longer than the answer: the model learns to write
        questions. The loss looks healthy.

    Example:
        `assistant_only_loss: true` with `DataCollatorForLanguageModeling`, which replaces the labels by a
        copy of the ids. Or tokenised rows with a column `completion_mask` and no `labels`: the Trainer drops
        the column, as no model takes it.

    Fix:
        A collator that keeps the labels (`collator: PADDING`), the argument that fits the format, or labels
        written into the data.

    Source:
        huggingface/trl `_reject_skip_prepare_without_labels`; meta-llama/llama-cookbook issue 101;
        QwenLM/Qwen3 issue 222.
    """

    id = "D117"
    name = "prompt-in-loss"
    severity = Severity.WARNING
    needs = ("data",)

    def examine(self, evidence: Evidence) -> Iterable[Finding]:
        """Looks at whether the first token that can have a label has one, row by row."""
        data = evidence.data
        assert data is not None
        if not data.rows:
            raise Skip("no row could be tokenised")
        asked = _asked(evidence, data)
        if asked is None:
            raise Skip("no mask was asked for")
        unmasked = [row for row in data.rows if _has_no_mask(row)]
        if not unmasked or len(unmasked) < _MOST * len(data.rows):
            return
        why, fix = _why(evidence, data)
        yield Finding(
            message=f"{asked}, and no prompt is masked in {len(unmasked)} of {len(data.rows)} rows "
            f"({percent(len(unmasked), len(data.rows))}): {why}. Rows {listed(r.row for r in unmasked)}.",
            location=Location(row=unmasked[0].row, config_path=_place(evidence, data)),
            evidence={
                "num_rows": len(data.rows),
                "num_rows_unmasked": len(unmasked),
                "rows": [row.row for row in unmasked[:20]],
                "collator": data.collator,
                "mask_source": data.mask_source,
                "format": data.format,
                "mask_columns": data.extra.get("mask_columns") or {},
            },
            fix=fix,
        )


def mask_is_lost(evidence: Evidence) -> bool:
    """The collator throws away the mask that was made."""
    data = evidence.data
    return (
        data is not None
        and (data.collator or "").upper() == "LANGUAGE_MODELING"
        and data.mask_source not in (None, "all")
    )


def _has_no_mask(row: PreparedRow) -> bool:
    """The first token that the shifted loss looks at has a label already."""
    return row.first_supervised is not None and row.first_supervised <= 1


def _asked(evidence: Evidence, data: DataEvidence) -> str | None:
    """Who asked for a mask, as the beginning of a sentence."""
    for name in ("assistant_only_loss", "completion_only_loss"):
        if (evidence.training or {}).get(name):
            return f"{name} is set"
    if columns := data.extra.get("mask_columns"):
        return f"The rows have a column {next(iter(columns))!r}"
    if data.mask_source == "labels" and mask_is_lost(evidence):
        return "The rows bring labels"
    return None


def _why(evidence: Evidence, data: DataEvidence) -> tuple[str, Fix]:
    if mask_is_lost(evidence):
        return (
            "DataCollatorForLanguageModeling replaces the labels by a copy of the ids",
            Fix(
                description="Keep the labels of the rows.",
                patch=[set_value(evidence, "/training/collator", "PADDING")],
            ),
        )
    if columns := data.extra.get("mask_columns"):
        return (
            f"no model takes {next(iter(columns))!r}, so the Trainer drops it, and there are no labels",
            Fix(description="Write labels: the ids where the mask is 1, -100 elsewhere."),
        )
    if _is_chat(data) and given(evidence, "/training/completion_only_loss"):
        return (
            "completion_only_loss means prompt/completion rows, and these are conversations",
            Fix(
                description="Train on the assistant's turns alone.",
                patch=[
                    remove("/training/completion_only_loss"),
                    set_value(evidence, "/training/assistant_only_loss", True),
                ],
            ),
        )
    if data.format == "PROMPT_COMPLETION" and given(evidence, "/training/assistant_only_loss"):
        return (
            "assistant_only_loss means conversations, and these rows are plain prompts and completions",
            Fix(
                description="Train on the completions alone.",
                patch=[
                    remove("/training/assistant_only_loss"),
                    set_value(evidence, "/training/completion_only_loss", True),
                ],
            ),
        )
    return (
        f"rows of format {data.format} have no part that could be masked",
        Fix(description="Give conversations, prompt and completion, or labels with -100."),
    )


def _is_chat(data: DataEvidence) -> bool:
    return data.format in ("MESSAGES", "SHAREGPT", "ALPACA")


def _place(evidence: Evidence, data: DataEvidence) -> str | None:
    if mask_is_lost(evidence):
        return "/training/collator"
    for name in ("assistant_only_loss", "completion_only_loss"):
        if (evidence.training or {}).get(name):
            return f"/training/{name}"
    return "/data/columns" if data.extra.get("mask_columns") else None
