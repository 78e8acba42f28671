"""D112 special-token-in-text."""

from __future__ import annotations

from collections.abc import Iterable

from hotfire.rules.engine import Rule, Skip
from hotfire.rules.evidence import Evidence, Finding, Fix, Location, Severity
from hotfire.rules.wording import counted, listed, percent

_FEW = 0.001


class SpecialTokenInText(Rule):
    """Control tokens that somebody typed into a message become real control tokens.

    Why:
        Tokenizers read `<|im_end|>` in a user's text as the token itself. The turn ends there for the model,
        the rest reads as another turn, and a mask that follows the tokens goes wrong. Where the answer ends
        with a typed end token, the template adds a second one.

    Example:
        `{"role": "user", "content": "What does <|im_start|> mean?"}`; answers with `</s>` appended by hand.

    Fix:
        Take the tokens out of the texts, or break them up. The template writes the ones that are needed.

    Source:
        huggingface/transformers `split_special_tokens`; huggingface/trl commit a70b4e014 (end token twice).
    """

    id = "D112"
    name = "special-token-in-text"
    severity = Severity.WARNING
    needs = ("data",)

    def examine(self, evidence: Evidence) -> Iterable[Finding]:
        """One finding for all of them; INFO where they are fewer than one row in a thousand."""
        data = evidence.data
        assert data is not None
        typed = data.extra.get("typed_special_tokens")
        if typed is None:
            raise Skip("no messages were looked at")
        if not typed:
            return
        num_rows = data.extra.get("num_typed_token_rows") or len({entry["row"] for entry in typed})
        rows = data.extra.get("typed_token_rows") or list(dict.fromkeys(entry["row"] for entry in typed))
        tokens = data.extra.get("typed_tokens") or {}
        names = listed(tokens or dict.fromkeys(entry["token"] for entry in typed))
        roles = sorted({str(entry["role"]) for entry in typed})
        is_few = num_rows < _FEW * len(data.rows)
        yield Finding(
            message=f"{counted(num_rows, 'row has', 'rows have')} control tokens in the text of a turn, of "
            f"{len(data.rows)} ({percent(num_rows, len(data.rows))}): {names}, in turns of "
            f"{listed(roles)}. The model takes them for real ones. Rows {listed(rows)}."
            f"{' Lowered to INFO: they are few.' if is_few else ''}",
            severity=Severity.INFO if is_few else Severity.WARNING,
            location=Location(row=rows[0]),
            evidence={
                "num_rows": len(data.rows),
                "num_rows_affected": num_rows,
                "rows": rows[:20],
                "tokens": tokens,
                "roles": roles,
            },
            fix=Fix(
                description="Take these tokens out of the texts: the template writes those that are due."
            ),
        )
