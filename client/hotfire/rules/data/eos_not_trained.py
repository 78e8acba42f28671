"""D103 eos-not-trained."""

from __future__ import annotations

from collections.abc import Iterable

from hotfire.rules.data.sides import both_sides
from hotfire.rules.engine import Rule, Skip
from hotfire.rules.evidence import DataEvidence, Evidence, Finding, Fix, Location, PreparedRow, Severity
from hotfire.rules.remedy import has, remove, set_value
from hotfire.rules.wording import listed, percent

#: Above this share the model does not learn to stop; below, it merely sees it less often.
_MOST = 0.5


class EosNotTrained(Rule):
    """The token that ends an answer is absent, or has no label.

    Why:
        A model stops because it has learnt to predict the end token after an answer. If that token is never
        in the labels the fine-tuned model does not stop: it talks on until the length limit.

    Example:
        `pad_token = eos_token` with `DataCollatorForLanguageModeling`: the collator masks every pad id, and
        the real end token with them. Or a `{% generation %}` block that closes before the end-of-turn token.

    Fix:
        A collator that pads by attention mask (`collator: PADDING`), a pad token of its own, the end token
        inside the template's generation block, or an end token appended to the completion.

    Source:
        huggingface/transformers issues 23530 and 22794; huggingface/trl issues 976, 734, commit 485852c94.
    """

    id = "D103"
    name = "eos-not-trained"
    severity = Severity.ERROR
    needs = ("data",)

    @both_sides
    def examine(self, evidence: Evidence) -> Iterable[Finding]:
        """One finding for end tokens without a label, one for answers without an end token."""
        data = evidence.data
        assert data is not None
        if data.format == "TEXT":
            raise Skip("plain text has no answer that must end")
        # Where labels are shifted the one of the end token is elsewhere: mask-misaligned tells of that.
        rows = [
            row
            for row in data.rows
            if not row.empty_answer and not row.labels_shifted and row.num_answers != 0
        ]
        masked = [row for row in rows if _is_masked(data, row)]
        absent = [row for row in rows if row.has_end_token is False]
        if not masked and not absent and not any(_is_known(row) for row in rows):
            raise Skip("whether the rows end with an end token is not known")
        if masked:
            yield _masked_finding(evidence, data, rows, masked)
        if absent and not (data.format == "PREFERENCE" and _is_plain(data)):
            # Trainers of preferences put the end token behind plain answers themselves.
            yield _absent_finding(evidence, data, rows, absent)


def _masked_finding(
    evidence: Evidence, data: DataEvidence, rows: list[PreparedRow], masked: list[PreparedRow]
) -> Finding:
    severity, lowered = _severity(rows, masked)
    pad_is_eos = data.pad_token_id is not None and data.pad_token_id in data.eos_token_ids
    by_collator = pad_is_eos and (data.collator or "").upper() == "LANGUAGE_MODELING"
    if by_collator:
        why = "the collator masks every pad id, and the pad token is the end token"
        fix = Fix(
            description="Pad labels by position instead of masking every pad id.",
            patch=[set_value(evidence, "/training/collator", "PADDING")],
        )
        free = evidence.model.pad_candidates if evidence.model else []
        alternatives = [
            Fix(
                description="Give the tokenizer a pad token of its own (training.pad_token).",
                patch=[set_value(evidence, "/training/pad_token", token) for token in free[:1]],
            )
        ]
    else:
        why = (
            "it stands outside the template's {% generation %} block"
            if data.mask_source == "generation"
            else "the labels stop before it"
        )
        fix = Fix(
            description="Move the end-of-turn token inside what is trained: inside the generation block, "
            "or the completion."
        )
        alternatives = []
    return Finding(
        message=f"The end token has no label in {len(masked)} of {len(rows)} rows "
        f"({percent(len(masked), len(rows))}): "
        f"{why}. The trained model will not learn to stop; rows "
        f"{listed(row.row for row in masked)}.{lowered}",
        severity=severity,
        location=Location(row=masked[0].row, config_path="/training/collator" if by_collator else None),
        evidence=_numbers(data, rows, masked),
        fix=fix,
        alternatives=alternatives,
    )


def _absent_finding(
    evidence: Evidence, data: DataEvidence, rows: list[PreparedRow], absent: list[PreparedRow]
) -> Finding:
    severity, lowered = _severity(rows, absent)
    if (
        data.format == "PROMPT_COMPLETION"
        and _is_plain(data)
        and (evidence.training or {}).get("completion_only_loss")
    ):
        severity = Severity.WARNING
        lowered = (
            " Lowered to a warning: TRL's SFTTrainer appends it to plain completions; other loops do not."
        )
    alternatives = []
    if (data.extra.get("template") or {}).get("has_own") and has(evidence, "/training/chat_template"):
        alternatives.append(
            Fix(
                description="Use the template that lies in the model folder.",
                patch=[remove("/training/chat_template")],
            )
        )
    return Finding(
        message=f"{len(absent)} of {len(rows)} answers ({percent(len(absent), len(rows))}) do not end with "
        "an end token. "
        f"The trained model will not learn to stop; rows {listed(row.row for row in absent)}.{lowered}",
        severity=severity,
        location=Location(row=absent[0].row),
        evidence=_numbers(data, rows, absent),
        fix=Fix(
            description="Append the tokenizer's end token to every answer, or use a chat template that does."
        ),
        alternatives=alternatives,
    )


def _is_plain(data: DataEvidence) -> bool:
    """No conversations: nothing but the job's own code could end the answers."""
    return not data.extra.get("roles")


def _severity(rows: list[PreparedRow], affected: list[PreparedRow]) -> tuple[Severity, str]:
    if len(affected) >= _MOST * len(rows):
        return Severity.ERROR, ""
    return Severity.WARNING, " Lowered to a warning: the other rows teach it to stop."


def _is_known(row: PreparedRow) -> bool:
    return row.end_token_trained is not None or row.has_end_token is not None


def _is_masked(data: DataEvidence, row: PreparedRow) -> bool:
    """The answer ends with an end token that has no label."""
    if row.end_token_trained is not None:
        return row.end_token_trained is False and row.has_end_token is not False
    # Not said: look at the row itself, where it is whole.
    if (
        not row.input_ids
        or len(row.input_ids) != len(row.labels)
        or row.num_tokens < row.num_tokens_untruncated
    ):
        return False
    return row.num_supervised > 0 and row.input_ids[-1] in data.eos_token_ids and row.labels[-1] == -100


def _numbers(data: DataEvidence, rows: list[PreparedRow], affected: list[PreparedRow]) -> dict[str, object]:
    return {
        "num_rows": len(rows),
        "num_rows_affected": len(affected),
        "rows": [row.row for row in affected[:20]],
        "pad_token_id": data.pad_token_id,
        "eos_token_ids": list(data.eos_token_ids),
        "collator": data.collator,
        "mask_source": data.mask_source,
    }
