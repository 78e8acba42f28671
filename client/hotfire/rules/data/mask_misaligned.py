"""D106 mask-misaligned."""

from __future__ import annotations

from collections.abc import Iterable

from hotfire.rules.data.prompt_in_loss import mask_is_lost
from hotfire.rules.data.sides import both_sides
from hotfire.rules.engine import Rule, Skip
from hotfire.rules.evidence import DataEvidence, Evidence, Finding, Fix, Location, PreparedRow, Severity
from hotfire.rules.wording import counted, listed, percent

#: Up to this share of the text a seam is meant, not another text.
_SEAM = 0.1
_FEW = 0.05


class MaskMisaligned(Rule):
    """What is trained is not the answer: the mask begins or ends at the wrong token.

    Why:
        A mask is made by counting tokens. Where the prompt alone is tokenised in another way than the prompt
        with its answer, where the generation block holds the header too, or where labels are shifted in the
        data although the model shifts them itself, the model is taught something else than the answer.

    Example:
        The prompt ends with a space: `Answer: ` is two tokens alone, and the space belongs to the first word
        of the answer otherwise, so that this word has no label.

    Fix:
        A prompt that ends where a token ends, a template that can ask for an answer
        (`add_generation_prompt`), a generation block around the answer and its end token only.

    Source:
        huggingface/trl issues 1920, 1820, 980, commits d5b534ee5 and 5d870955f; unslothai/unsloth issue 2364.
    """

    id = "D106"
    name = "mask-misaligned"
    severity = Severity.ERROR
    needs = ("data",)

    @both_sides
    def examine(self, evidence: Evidence) -> Iterable[Finding]:
        """One finding for labels that are other tokens, one for text that is not the answer, one for turns."""
        data = evidence.data
        assert data is not None
        if not data.rows:
            raise Skip("no row could be tokenised")
        shifted = [row for row in data.rows if row.num_label_mismatches]
        if shifted:
            yield _labels_finding(data, shifted)
        if mask_is_lost(evidence):
            return  # prompt-in-loss tells why
        wrong = [row for row in data.rows if row.answer_text_matches is False and row.num_supervised]
        if wrong:
            yield _text_finding(data, wrong)
        rewritten = [
            row
            for row in data.rows
            if row.prefix_ok is False and row.answer_text_matches is not False and row.num_supervised
        ]
        if rewritten:
            yield _rewritten_finding(data, rewritten)
        if not shifted and not wrong and not rewritten and not any(_is_known(row) for row in data.rows):
            raise Skip("no mask was asked for, or the answers are not known as text")


def _is_known(row: PreparedRow) -> bool:
    return row.answer_text_matches is not None or row.prefix_ok is not None or row.num_answers is None


def _labels_finding(data: DataEvidence, rows: list[PreparedRow]) -> Finding:
    shifted = [row for row in rows if row.labels_shifted]
    if 2 * len(shifted) >= len(rows):
        why = (
            "every label is the token behind it: they are shifted in the data, and the model shifts them once "
            "more"
        )
        fix = Fix(description="Write labels[i] = input_ids[i] (or -100): the model shifts by itself.")
    else:
        why = "labels are other ids than the tokens at their places"
        fix = Fix(description="Write labels as a copy of input_ids, with -100 where nothing is to be learnt.")
    return Finding(
        message=f"{counted(len(rows), 'row has', 'rows have')} labels that are not their own tokens, of "
        f"{len(data.rows)}: {why}. Rows {listed(row.row for row in rows)}.",
        location=Location(row=rows[0].row),
        evidence={
            "num_rows": len(data.rows),
            "num_rows_affected": len(rows),
            "num_rows_shifted": len(shifted),
            "num_label_mismatches": sum(row.num_label_mismatches for row in rows),
            "rows": [row.row for row in rows[:20]],
        },
        fix=fix,
    )


def _text_finding(data: DataEvidence, rows: list[PreparedRow]) -> Finding:
    kinds = {kind: sum(row.answer_difference == kind for row in rows) for kind in ("more", "less", "other")}
    kind = max(kinds, key=lambda name: kinds[name])
    shares = sorted(row.answer_difference_share or 0.0 for row in rows)
    share = shares[len(shares) // 2]
    severity, lowered = Severity.ERROR, ""
    if len(rows) < _FEW * len(data.rows):
        severity, lowered = Severity.WARNING, " Lowered to a warning: they are few."
    elif share <= _SEAM:
        severity = Severity.WARNING
        lowered = f" Lowered to a warning: it is {percent(share, 1)} of the text, at the seam."
    seam = sum(row.prefix_ok is False for row in rows)
    what = {
        "more": "more than the answer is trained (its header, or part of the prompt)",
        "less": "part of the answer is not trained",
        "other": "what is trained is another text than the answer",
    }[kind]
    why = (
        " The prompt's tokens are no beginning of the row's tokens: the two do not meet at a token's edge."
        if 2 * seam >= len(rows) and data.mask_source == "completion"
        else ""
    )
    return Finding(
        message=f"In {len(rows)} of {len(data.rows)} rows ({percent(len(rows), len(data.rows))}) {what}: "
        f"{percent(share, 1)} of the text in the median.{why} Rows {listed(row.row for row in rows)}."
        f"{lowered}",
        severity=severity,
        location=Location(row=rows[0].row),
        evidence={
            "num_rows": len(data.rows),
            "num_rows_affected": len(rows),
            "rows": [row.row for row in rows[:20]],
            "kinds": kinds,
            "median_share": round(share, 4),
            "num_rows_prefix_mismatch": seam,
            "mask_source": data.mask_source,
        },
        fix=_mask_fix(data, kind),
    )


def _mask_fix(data: DataEvidence, kind: str) -> Fix:
    if data.mask_source == "completion":
        return Fix(
            description="End the prompt where a token ends: without white space at its end, which belongs in "
            "front of the completion."
        )
    if data.mask_source == "generation":
        return Fix(
            description="Put the answer and its end token, and nothing else, between {% generation %} and "
            "{% endgeneration %}."
        )
    if data.mask_source == "prefix" and kind == "more":
        return Fix(
            description="Let the template write the assistant's header when add_generation_prompt is set, or "
            "mark the answer with {% generation %}."
        )
    return Fix(
        description="Use a template that leaves earlier turns as they are, or one with {% generation %}."
    )


def _rewritten_finding(data: DataEvidence, rows: list[PreparedRow]) -> Finding:
    return Finding(
        message=f"In {len(rows)} of {len(data.rows)} rows the template rewrites earlier turns (it takes out "
        f"their reasoning, say): those turns are not trained. Rows {listed(row.row for row in rows)}. "
        "Lowered to INFO: reasoning templates do that by design.",
        severity=Severity.INFO,
        location=Location(row=rows[0].row),
        evidence={
            "num_rows": len(data.rows),
            "num_rows_affected": len(rows),
            "rows": [row.row for row in rows[:20]],
            "mask_source": data.mask_source,
        },
    )
