"""M102 pad-is-eos."""

from __future__ import annotations

from collections.abc import Iterable

from hotfire.rules.engine import Rule, Skip
from hotfire.rules.evidence import Evidence, Finding, Fix, Location, Severity
from hotfire.rules.remedy import set_value


class PadIsEos(Rule):
    """The pad token is the end token, and the collator masks every pad token.

    Why:
        `DataCollatorForLanguageModeling` sets the label of every pad id to -100. Where the end token is the pad
        token, the real end of every row goes with it, and the model does not learn to stop. With a collator
        that pads by position the two may well be the same: most recipes have it so.

    Example:
        `tokenizer.pad_token = tokenizer.eos_token` with `DataCollatorForLanguageModeling(mlm=False)`.

    Fix:
        `collator: PADDING`, or a pad token of its own (proposed as patches).

    Source:
        huggingface/transformers issues 23530 and 22794; huggingface/trl issue 976, commit 485852c94.
    """

    id = "M102"
    name = "pad-is-eos"
    severity = Severity.WARNING
    needs = ("model",)

    def examine(self, evidence: Evidence) -> Iterable[Finding]:
        """Silent unless the collator masks by id; eos-not-trained tells what it does to the rows."""
        model = evidence.model
        assert model is not None
        if not model.special_token_ids:
            raise Skip("the tokenizer was not looked at")
        pad, end = model.special_token_ids.get("pad"), model.special_token_ids.get("eos")
        if pad is None or pad != end or _collator(evidence) != "LANGUAGE_MODELING":
            return
        rows = evidence.data.rows if evidence.data else []
        if rows and not any(row.has_end_token for row in rows):
            return  # no row ends with it, so that none is lost
        fix = Fix(
            description="Pad labels by position instead of masking every pad id.",
            patch=[set_value(evidence, "/training/collator", "PADDING")],
        )
        others = [
            Fix(
                description=f"Pad with {token}, which no row uses.",
                patch=[set_value(evidence, "/training/pad_token", token)],
            )
            for token in model.pad_candidates[:1]
        ]
        yield Finding(
            message=f"The pad token is the end token (id {pad}), and the collator masks every pad token: the "
            "end of every row has no label.",
            location=Location(config_path="/training/collator"),
            evidence={
                "pad_token_id": pad,
                "eos_token_id": end,
                "collator": "LANGUAGE_MODELING",
                "pad_candidates": list(model.pad_candidates),
            },
            fix=fix,
            alternatives=others,
        )


def _collator(evidence: Evidence) -> str:
    if evidence.data is not None and evidence.data.collator:
        return evidence.data.collator.upper()
    return str((evidence.training or {}).get("collator") or "").removeprefix("COLLATOR_").upper()
