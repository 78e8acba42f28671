"""D115 broken-text."""

from __future__ import annotations

from collections.abc import Iterable

from hotfire.rules.engine import Rule, Skip
from hotfire.rules.evidence import DataEvidence, Evidence, Finding, Fix, Location, Severity
from hotfire.rules.wording import listed, percent

_SOME = 0.01
_UNKNOWN_SHARE = 0.005


class BrokenText(Rule):
    """Texts are damaged: mojibake, replacement characters, tokens that the vocabulary does not know.

    Why:
        The model learns the damage. It comes from a file read in the wrong encoding, once, and is in every
        row from then on; unknown tokens say that the tokenizer was not made for this language.

    Example:
        "cafÃ©" for "café" (UTF-8 read as Latin-1); U+FFFD where bytes were cut.

    Fix:
        Read the source as UTF-8 again; ftfy repairs mojibake; another tokenizer for another script.

    Source:
        The UTF-8 tables; huggingface/tokenizers `unk_token`.
    """

    id = "D115"
    name = "broken-text"
    severity = Severity.WARNING
    needs = ("data",)

    def examine(self, evidence: Evidence) -> Iterable[Finding]:
        """WARNING from 1 % of the rows (or 0.5 % of the tokens) on, INFO below."""
        data = evidence.data
        assert data is not None
        if "num_mojibake_rows" not in data.extra:
            raise Skip("the texts of the rows were not looked at")
        for name, what, remedy in (
            (
                "mojibake_rows",
                "text in the wrong encoding (mojibake)",
                "Read the source as UTF-8, or use ftfy.",
            ),
            (
                "replacement_character_rows",
                "replacement characters (U+FFFD)",
                "Read the source again: bytes were lost where these stand.",
            ),
        ):
            count = data.extra.get(f"num_{name}") or 0
            if count:
                yield _finding(data, data.extra.get(name) or [], count, what, remedy)
        unknown, total = data.extra.get("num_unknown_tokens") or 0, data.extra.get("num_tokens") or 0
        if unknown:
            is_few = unknown < _UNKNOWN_SHARE * total
            rows = data.extra.get("unknown_token_rows") or []
            yield Finding(
                message=f"{unknown} of {total} tokens ({percent(unknown, total)}) are unknown to the "
                f"vocabulary; rows {listed(rows)}.{' Lowered to INFO: they are few.' if is_few else ''}",
                severity=Severity.INFO if is_few else Severity.WARNING,
                location=Location(row=rows[0] if rows else None),
                evidence={"num_unknown_tokens": unknown, "num_tokens": total, "rows": rows[:20]},
                fix=Fix(description="Use a tokenizer that has the script of these texts."),
            )


def _finding(data: DataEvidence, rows: list[int], count: int, what: str, remedy: str) -> Finding:
    total = len(data.rows)
    is_few = count < _SOME * total
    return Finding(
        message=f"{count} of {total} rows ({percent(count, total)}) have {what}: rows {listed(rows)}."
        f"{' Lowered to INFO: they are few.' if is_few else ''}",
        severity=Severity.INFO if is_few else Severity.WARNING,
        location=Location(row=rows[0] if rows else None),
        evidence={"num_rows_affected": count, "num_rows": total, "rows": rows[:20]},
        fix=Fix(description=remedy),
    )
