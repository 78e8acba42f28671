"""D114 template-mismatch."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from hotfire.rules.data.hollow import LOST_INDEX, LOST_INDEX_REMEDY, hollow_rows
from hotfire.rules.engine import Rule, Skip
from hotfire.rules.evidence import DataEvidence, Evidence, Finding, Fix, Location, RejectedRow, Severity
from hotfire.rules.remedy import given, has, remove, set_value
from hotfire.rules.wording import counted, listed, percent

#: Kinds of refused rows that are this rule's.
NESTED_KINDS = ("nested-output", "nested-ids", "no-tokens")
_CHAT = ("MESSAGES", "SHAREGPT", "ALPACA", "PREFERENCE")
_MOST = 0.5


class TemplateMismatch(Rule):
    """The chat template and the model's family disagree, or its output is no flat list of ids.

    Why:
        GLM-4's demo sliced what `apply_chat_template` returned with `[2:]`. With a tokenizer file that returns
        `[[ids]]` that is an empty list: every token is lost, every label is -100, and the log shows loss 0.0
        and grad_norm 0.0. A template of another family writes markers that this vocabulary cuts into pieces;
        without `[gMASK]<sop>` a GLM row begins as none of the pretraining did.

    Example:
        A ChatML template (`<|im_start|>`) on GLM-4, which has `<|user|>` for this.

    Fix:
        `apply_chat_template(...)[0]`; the model's own template (proposed as a patch where it has one);
        `add_special_tokens: false` where the prefix is doubled.

    Source:
        zai-org/GLM-4 issue 251 and pull request 572; hiyouga/ChatGLM-Efficient-Tuning issue 188.
    """

    id = "D114"
    name = "template-mismatch"
    severity = Severity.ERROR
    needs = ("data",)

    def examine(self, evidence: Evidence) -> Iterable[Finding]:
        """Rows whose ids were lost, then the template against the vocabulary, then the prefix of the rows."""
        data = evidence.data
        assert data is not None
        lost = [row for row in data.rejected if row.kind in NESTED_KINDS]
        for kind in NESTED_KINDS:
            if rows := [row for row in lost if row.kind == kind]:
                yield _lost_finding(data, kind, rows)
        if not data.rows:
            if lost:
                return
            raise Skip("no row could be tokenised")
        template = data.extra.get("template") or {}
        foreign = _foreign_finding(evidence, data, template)
        if foreign is not None:
            yield foreign
        if data.format not in (*_CHAT, "TOKENIZED"):
            return
        num_hollow = len(hollow_rows(data))  # no-supervised-tokens tells of them
        if (data.extra.get("num_doubled_prefix_rows") or 0) > num_hollow:
            yield _doubled_finding(evidence, data)
        missing = data.extra.get("num_missing_prefix_rows") or 0
        if missing > num_hollow and foreign is None:
            yield _missing_finding(evidence, data, missing)
        if template.get("lacks_bos") and data.format in _CHAT and not _begin_with_bos(data):
            yield _without_bos_finding(evidence, data)


def _lost_finding(data: DataEvidence, kind: str, rows: list[RejectedRow]) -> Finding:
    many = counted(len(rows), "row")
    if kind == "nested-output":
        message = (
            f"apply_chat_template of this tokenizer returns [[ids]], a list in a list, for {many} of "
            f"{data.num_rows_read}. Code that slices it ([2:], say) without taking [0] first gets an empty "
            "list: every token is lost, and every label is -100 (GLM-4 issue 251)."
        )
    elif kind == "nested-ids":
        message = (
            f"input_ids is [[ids]], a list in a list, in {many} of {data.num_rows_read}: the output of "
            "apply_chat_template was stored without taking [0] (GLM-4 issue 251)."
        )
    else:
        message = f"No token is left in {many} of {data.num_rows_read}."
        if data.format == "TOKENIZED":
            message = f"input_ids is empty in {many} of {data.num_rows_read}. {LOST_INDEX}."
    return Finding(
        message=f"{message} Rows {listed(row.row for row in rows)}.",
        location=Location(row=rows[0].row, config_path="/data"),
        evidence={
            "kind": kind,
            "num_rows_affected": len(rows),
            "num_rows": data.num_rows_read,
            "rows": [row.row for row in rows[:20]],
            "first_characters": rows[0].excerpt,
        },
        fix=Fix(description=LOST_INDEX_REMEDY),
    )


def _foreign_finding(evidence: Evidence, data: DataEvidence, template: dict[str, Any]) -> Finding | None:
    foreign, unused = template.get("foreign_markers") or [], template.get("unused_role_tokens") or []
    if not foreign or not unused or data.format not in _CHAT:
        return None
    fix = Fix(description="Use the chat template of this model's family.")
    if template.get("has_own") and has(evidence, "/training/chat_template"):
        fix = Fix(
            description="Use the template that lies in the model folder.",
            patch=[remove("/training/chat_template")],
        )
    return Finding(
        message=f"The chat template writes {listed(foreign)}, which is no token of this vocabulary and is cut "
        f"into pieces; this model's turns begin with {listed(unused)}, which the template never writes. It is "
        "the template of another family.",
        location=Location(config_path="/training/chat_template", row=data.rows[0].row),
        evidence={
            "foreign_markers": foreign,
            "unused_role_tokens": unused,
            "model_type": evidence.model.model_type if evidence.model else None,
        },
        fix=fix,
    )


def _doubled_finding(evidence: Evidence, data: DataEvidence) -> Finding:
    count, rows = data.extra["num_doubled_prefix_rows"], data.extra.get("doubled_prefix_rows") or []
    prefix = "".join(data.extra.get("prefix_tokens") or [])
    fix = Fix(description="Let the template alone write the prefix.")
    if given(evidence, "/training/add_special_tokens") is True:
        fix = Fix(
            description="Tokenise what the template renders without adding special tokens.",
            patch=[set_value(evidence, "/training/add_special_tokens", False)],
        )
    return Finding(
        message=f"{counted(count, 'row begins', 'rows begin')} with the family's prefix twice ({prefix}), of "
        f"{len(data.rows)}. Rows {listed(rows)}.",
        location=Location(row=rows[0] if rows else None, config_path="/training/add_special_tokens"),
        evidence={
            "prefix_tokens": data.extra.get("prefix_tokens"),
            "num_rows_affected": count,
            "rows": rows[:20],
        },
        fix=fix,
    )


def _missing_finding(evidence: Evidence, data: DataEvidence, count: int) -> Finding:
    expected = "".join(data.extra.get("expected_prefix") or [])
    rows = data.extra.get("missing_prefix_rows") or []
    severity, lowered = Severity.ERROR, ""
    if evidence.model is not None and evidence.model.pretrained is False:
        severity, lowered = (
            Severity.WARNING,
            " Lowered to a warning: the weights are random, so nothing is lost.",
        )
    elif data.format == "TOKENIZED" or count < _MOST * len(data.rows):
        severity, lowered = Severity.WARNING, " Lowered to a warning: it is not all of the conversations."
        if data.format == "TOKENIZED":
            lowered = " Lowered to a warning: whether these rows are conversations is not known."
    fix = Fix(description=f"Begin the chat template with {expected}.")
    if data.extra.get("template", {}).get("has_own") and has(evidence, "/training/chat_template"):
        fix = Fix(
            description="Use the template that lies in the model folder.",
            patch=[remove("/training/chat_template")],
        )
    return Finding(
        message=f"{count} of {len(data.rows)} rows ({percent(count, len(data.rows))}) do not begin with "
        f"{expected}, as every row of this model's pretraining did. Rows {listed(rows)}.{lowered}",
        severity=severity,
        location=Location(row=rows[0] if rows else None),
        evidence={
            "expected_prefix": data.extra.get("expected_prefix"),
            "prefix_tokens": data.extra.get("prefix_tokens"),
            "num_rows_affected": count,
            "rows": rows[:20],
        },
        fix=fix,
    )


def _begin_with_bos(data: DataEvidence) -> bool:
    return 2 * sum(row.num_leading_bos > 0 for row in data.rows) >= len(data.rows)


def _without_bos_finding(evidence: Evidence, data: DataEvidence) -> Finding:
    fixes = [
        Fix(
            description="Use the template that lies in the model folder.",
            patch=[remove("/training/chat_template")],
        )
    ]
    return Finding(
        message="The rows do not begin with BOS: the model's own template writes it, and the template of the "
        "job does not.",
        severity=Severity.WARNING,
        location=Location(config_path="/training/chat_template", row=data.rows[0].row),
        evidence={"bos_token_id": data.bos_token_id, "prefix_tokens": data.extra.get("prefix_tokens")},
        fix=fixes[0] if has(evidence, "/training/chat_template") else None,
    )
