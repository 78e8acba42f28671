"""D104 double-bos."""

from __future__ import annotations

from collections.abc import Iterable

from hotfire.rules.data.sides import both_sides
from hotfire.rules.engine import Rule, Skip
from hotfire.rules.evidence import DataEvidence, Evidence, Finding, Fix, Location, PreparedRow, Severity
from hotfire.rules.remedy import given, set_value
from hotfire.rules.wording import counted, listed, percent


class DoubleBos(Rule):
    """A row begins with two BOS tokens, or has one inside its answer.

    Why:
        The chat template writes BOS, and the tokenizer puts another one before it. No row of the pretraining
        began so: the first loss is odd, and the model learns a start that it will not see when it is served.

    Example:
        `tokenizer(tokenizer.apply_chat_template(messages, tokenize=False))` on Llama 3, Gemma or DeepSeek-R1:
        `<|begin_of_text|><|begin_of_text|>...`. Prompt and answer tokenised apart and put together: a BOS in
        front of the answer.

    Fix:
        `add_special_tokens: false` for text that the template made (proposed as a patch).

    Source:
        deepseek-ai/DeepSeek-R1 issue 151; abetlen/llama-cpp-python pull request 1439; allenai/reward-bench
        issue 164.
    """

    id = "D104"
    name = "double-bos"
    severity = Severity.WARNING
    needs = ("data",)

    @both_sides
    def examine(self, evidence: Evidence) -> Iterable[Finding]:
        """One finding for doubled starts, one for a BOS inside of answers."""
        data = evidence.data
        assert data is not None
        if not data.rows:
            raise Skip("no row could be tokenised")
        if data.bos_token_id is None:
            raise Skip("the tokenizer has no BOS token")
        if data.bos_token_id != data.pad_token_id or data.format != "TOKENIZED":
            # Where BOS pads, rows that come tokenised may be padded on the left.
            doubled = [row for row in data.rows if row.num_leading_bos > 1]
            if doubled:
                yield _doubled(evidence, data, doubled)
        # Typed by somebody: special-token-in-text tells of it.
        inside = [row for row in data.rows if row.bos_in_answer and not row.bos_typed]
        if inside:
            yield Finding(
                message=f"A BOS token (id {data.bos_token_id}) stands inside the answer of {len(inside)} of "
                f"{len(data.rows)} rows ({percent(len(inside), len(data.rows))}): prompt and answer were "
                f"tokenised apart. Rows {listed(row.row for row in inside)}.",
                location=Location(row=inside[0].row),
                evidence=_numbers(data, inside),
                fix=_without_special_tokens(evidence)
                or Fix(
                    description="Tokenise the answer with add_special_tokens=False before it is appended."
                ),
            )


def _doubled(evidence: Evidence, data: DataEvidence, rows: list[PreparedRow]) -> Finding:
    fix = _without_special_tokens(evidence)
    if fix is None and data.format != "TOKENIZED":
        fix = Fix(
            description="The text brings its BOS: tokenise it without adding another.",
            patch=[set_value(evidence, "/training/add_special_tokens", False)],
        )
    return Finding(
        message=f"{counted(len(rows), 'row begins', 'rows begin')} with "
        f"{max(row.num_leading_bos for row in rows)} BOS tokens (id {data.bos_token_id}), of "
        f"{len(data.rows)}: the text has one already, and the tokenizer adds another. Rows "
        f"{listed(row.row for row in rows)}.",
        location=Location(row=rows[0].row, config_path="/training/add_special_tokens"),
        evidence=_numbers(data, rows),
        fix=fix or Fix(description="Tokenise the rendered text with add_special_tokens=False."),
    )


def _without_special_tokens(evidence: Evidence) -> Fix | None:
    if given(evidence, "/training/add_special_tokens") is not True:
        return None
    return Fix(
        description="Tokenise what the template renders without adding special tokens.",
        patch=[set_value(evidence, "/training/add_special_tokens", False)],
    )


def _numbers(data: DataEvidence, rows: list[PreparedRow]) -> dict[str, object]:
    return {
        "num_rows": len(data.rows),
        "num_rows_affected": len(rows),
        "rows": [row.row for row in rows[:20]],
        "bos_token_id": data.bos_token_id,
    }
