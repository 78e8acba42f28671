"""D101 no-supervised-tokens."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable

from hotfire.rules.data.hollow import LOST_INDEX, LOST_INDEX_REMEDY
from hotfire.rules.data.length import is_truncated, length_fixes
from hotfire.rules.data.sides import both_sides
from hotfire.rules.engine import Rule, Skip
from hotfire.rules.evidence import (
    DataEvidence,
    Evidence,
    Finding,
    Fix,
    Location,
    MicroBatch,
    PreparedRow,
    Severity,
    Step,
)
from hotfire.rules.run.judged import is_finite, micro_batches, norm, without_tokens
from hotfire.rules.wording import counted, listed, percent

#: Below this share, rows without a label only waste their place in a batch.
_SHARE_THAT_MATTERS = 0.05


class NoSupervisedTokens(Rule):
    """Rows, or whole micro-batches, whose labels are all -100.

    Why:
        The loss is the mean over the tokens that have a label. Without one it is 0/0: NaN, with a gradient
        of exactly 0. The HF Trainer prints this as `loss: 0.0, grad_norm: 0.0` at every ZeRO stage, so it
        looks like a fault of ZeRO and is none. Where only some rows are affected the loss looks normal, and
        those rows teach nothing.

    Example:
        `max_length: 64` with prompts of 90 tokens: every answer begins after the cut. Or a chat template
        without `{% generation %}` under `assistant_only_loss`; or a template that returns `[[ids]]`, sliced
        by code that expects `[ids]`.

    Fix:
        A `max_length` that keeps the answers (proposed as a patch), truncation on the left, a mask that fits
        the template, or rows that have an answer.

    Source:
        zai-org/GLM-4 issues 251, 260, 261; huggingface/trl issues 6668, 1225, 1920; verl issue 785.
    """

    id = "D101"
    name = "no-supervised-tokens"
    severity = Severity.ERROR
    needs = ("data",)

    @both_sides
    def examine(self, evidence: Evidence) -> Iterable[Finding]:
        """Counts rows without a label, then micro-batches as they ran."""
        data = evidence.data
        assert data is not None
        empty = [row for row in data.rows if row.num_supervised == 0]
        batches = _empty_micro_batches(evidence)
        if not data.rows and not batches:
            raise Skip("no row could be tokenised")
        if empty:
            yield _rows_finding(evidence, data, empty, batches)
        elif batches:
            yield _batches_finding(batches)


def _rows_finding(
    evidence: Evidence,
    data: DataEvidence,
    empty: list[PreparedRow],
    batches: list[tuple[Step, int, int, MicroBatch]],
) -> Finding:
    causes = Counter(_cause(row) for row in empty)
    cut = [row for row in empty if _was_cut(row)]
    main_cause = causes.most_common(1)[0][0]
    if len(empty) == len(data.rows):
        subject = "No row has a supervised token"
    else:
        subject = (
            f"{len(empty)} of {len(data.rows)} rows ({percent(len(empty), len(data.rows))}) have no "
            "supervised token"
        )
    why = {
        "cut": f"the answers begin after max_length {data.max_length}",
        "empty": "their answers are empty",
        "no-answer": "they have no assistant's turn",
        "hollow": f"they hold nothing but control tokens. {LOST_INDEX}",
        "rewritten": "the template rewrites the turns, so that the answer's tokens are not found in the row",
    }.get(main_cause, _mask_words(data))
    severity, lowered = _severity(evidence, data, empty, batches)
    parts = [f"{subject}: {why}."]
    if len(empty) < len(data.rows):
        parts.append(f"Rows {listed(row.row for row in empty)}.")
    if severity is Severity.ERROR:
        parts.append(
            "Their loss is 0/0 and their gradient exactly 0, which the HF Trainer prints as loss 0.0 and "
            "grad_norm 0.0."
        )
    else:
        parts.append(f"Lowered to a warning: {lowered}.")
    if batches:
        parts.append(
            f"{counted(len(batches), 'micro-batch', 'micro-batches')} of the trial had no label at all."
        )
    fixes = length_fixes(evidence, cut) if 2 * len(cut) >= len(empty) else _mask_fixes(data, main_cause)
    return Finding(
        message=" ".join(parts),
        severity=severity,
        location=Location(
            row=empty[0].row, config_path="/training/max_length" if main_cause == "cut" else None
        ),
        evidence={
            "num_rows": len(data.rows),
            "num_rows_without_supervised_tokens": len(empty),
            "share": round(len(empty) / len(data.rows), 4),
            "rows": [row.row for row in empty[:20]],
            "causes": dict(causes),
            "max_length": data.max_length,
            "first_supervised_token": _smallest([row.first_supervised for row in cut]),
            "longest_affected_row_tokens": max((row.num_tokens_untruncated for row in cut), default=None),
            "mask_source": data.mask_source,
            "num_empty_micro_batches": len(batches),
        },
        fix=fixes[0] if fixes else None,
        alternatives=fixes[1:],
    )


def _batches_finding(batches: list[tuple[Step, int, int, MicroBatch]]) -> Finding:
    step, rank, index, batch = batches[0]
    harmless = all(_step_survived(entry[0]) for entry in batches)
    tail = (
        "Lowered to a warning: the loss and the gradient of those steps are healthy, because the Trainer "
        "divides by the labels of the whole step."
        if harmless
        else "Their loss is 0/0, which makes the loss of the step NaN."
    )
    return Finding(
        message=f"{counted(len(batches), 'micro-batch has', 'micro-batches have')} no supervised token "
        "although every "
        "row has one: the collator, or the way rows are cut into batches, removes them. First: step "
        f"{step.step}, "
        f"rank {rank}, micro-batch {index}. {tail}",
        severity=Severity.WARNING if harmless else Severity.ERROR,
        location=Location(
            step=step.step, rank=rank, micro_batch=index, row=batch.rows[0] if batch.rows else None
        ),
        evidence={"num_empty_micro_batches": len(batches), "rows": batch.rows[:20]},
        fix=Fix(
            description="Look at the labels that the collator returns; PADDING keeps those of the rows.",
            patch=[],
        ),
    )


def _empty_micro_batches(evidence: Evidence) -> list[tuple[Step, int, int, MicroBatch]]:
    candidate = evidence.candidate
    return [
        (step, rank, index, batch)
        for step in (candidate.steps if candidate else [])
        for rank, index, batch in without_tokens(step)
    ]


def _severity(
    evidence: Evidence,
    data: DataEvidence,
    empty: list[PreparedRow],
    batches: list[tuple[Step, int, int, MicroBatch]],
) -> tuple[Severity, str]:
    """ERROR unless the rows are few and the trial shows that they do no harm; with the reason."""
    if len(empty) >= _SHARE_THAT_MATTERS * len(data.rows):
        return Severity.ERROR, ""
    if batches:
        if all(_step_survived(entry[0]) for entry in batches):
            return Severity.WARNING, "the steps with such a micro-batch have a healthy loss and gradient"
        return Severity.ERROR, ""
    ran = any(micro_batches(step) for step in (evidence.candidate.steps if evidence.candidate else []))
    if not ran and (data.micro_batch_size or 1) == 1 and evidence.loop in ("DEEPSPEED", "ACCELERATE"):
        return Severity.ERROR, ""
    return Severity.WARNING, "they are few, and no micro-batch is without a label"


def _step_survived(step: Step) -> bool:
    return is_finite(step.loss) and norm(step) != 0 and is_finite(norm(step))


def _was_cut(row: PreparedRow) -> bool:
    return is_truncated(row) and (row.num_supervised_untruncated or 0) > 0


def _cause(row: PreparedRow) -> str:
    if _was_cut(row):
        return "cut"
    if row.num_text_tokens == 0:
        return "hollow"
    if row.num_answers == 0:
        return "no-answer"
    if row.empty_answer:
        return "empty"
    return "rewritten" if row.prefix_ok is False else "mask"


def _mask_words(data: DataEvidence) -> str:
    """Why the mask marks nothing although the answers are there."""
    return {
        "generation": "the chat template's {% generation %} block marks no token of them",
        "prefix": "the assistant's turns come out of the chat template without a token",
        "completion": "the completion adds no token to the prompt",
        "labels": "the labels in the data are all -100",
        "all": "the collator masks all of their tokens",
    }.get(data.mask_source or "", "the mask marks no token of them")


def _mask_fixes(data: DataEvidence, cause: str) -> list[Fix]:
    if cause in ("empty", "no-answer"):
        return [Fix(description="Give these rows an answer, or drop them.")]
    if cause == "hollow":
        return [Fix(description=LOST_INDEX_REMEDY)]
    if cause == "rewritten":
        return [Fix(description="Mark the answers with {% generation %} in the chat template.")]
    if data.mask_source == "labels":
        return [
            Fix(
                description="Write labels into the data: the token id where the model is to learn, -100 "
                "elsewhere."
            )
        ]
    if data.mask_source == "generation":
        return [
            Fix(
                description="Wrap the assistant's turn of the chat template, end token included, in {% "
                "generation %}."
            )
        ]
    return [
        Fix(
            description="Compare the row's tokens (the report shows samples) with what the chat template "
            "should give."
        )
    ]


def _smallest(values: list[int | None]) -> int | None:
    return min((value for value in values if value is not None), default=None)
