"""D116 packing-contamination."""

from __future__ import annotations

import re
from collections.abc import Iterable

from hotfire.rules.engine import Rule, Skip
from hotfire.rules.evidence import Evidence, Finding, Fix, Location, Severity
from hotfire.rules.remedy import remove, set_value

#: From here on transformers makes a mask of restarted positions for sdpa, eager and flex (pull request 39194).
_KEEPS_APART = (4, 53)


class PackingContamination(Rule):
    """Packed rows attend to each other.

    Why:
        Packing puts several rows into one. Unless attention stops at their borders a row sees the ones before
        it: the loss looks fine, and the model learns from contexts that make no sense.

    Example:
        `packing: true` with an architecture that ignores restarted positions (OPT, BLOOM), or with rows that
        are joined and cut (`packing_strategy: wrapped`).

    Fix:
        Whole rows with borders (`packing_strategy: bfd`, `neat_packing: true`), an attention backend that keeps
        them apart (`attn_implementation: flash_attention_2`), or no packing. Plain texts that are joined and cut
        (pre-training) are only mentioned.

    Source:
        TRL sft_trainer.py (padding-free without flash attention), commits ebb8899f5 and 7e170612a;
        hiyouga/LlamaFactory `neat_packing` and commit bd7bc31c7; transformers `find_packed_sequence_indices`.
    """

    id = "D116"
    name = "packing-contamination"
    severity = Severity.ERROR
    needs = ("training", "data")

    def examine(self, evidence: Evidence) -> Iterable[Finding]:
        """By what the strategy does, then by what a small copy of the architecture showed."""
        training, data = evidence.training or {}, evidence.data
        assert data is not None
        if not training.get("packing"):
            raise Skip("rows are not packed")
        attention = str(training.get("attn_implementation") or "the default")
        strategy = training.get("packing_strategy")
        if strategy == "wrapped" or training.get("neat_packing") is False:
            yield _without_borders(evidence, is_text=data.format == "TEXT")
            return
        if training.get("neat_packing") or "flash" in attention:
            return
        target = (evidence.cluster.versions if evidence.cluster else {}).get("transformers")
        if target is not None and _release(target) < _KEEPS_APART:
            yield _old_version(evidence, target, attention)
            return
        leak = data.extra.get("packing_leak")
        if leak is None:
            raise Skip(
                f"whether {attention} attention keeps packed rows apart could not be tried with this "
                "architecture; flash_attention_2 does"
            )
        if not leak["leaks"]:
            return
        yield Finding(
            message=f"Packed rows attend to each other with {leak['attention']} attention: in a small copy of "
            f"this architecture the logits of the second row change by {leak['max_difference']:.3g} when "
            "another row is packed before it.",
            location=Location(config_path="/training/packing"),
            evidence=dict(leak),
            fix=Fix(description="Do not pack.", patch=[remove("/training/packing")]),
            alternatives=[
                Fix(
                    description="Use flash attention, which keeps the rows apart.",
                    patch=[set_value(evidence, "/training/attn_implementation", "flash_attention_2")],
                )
            ],
        )


def _without_borders(evidence: Evidence, *, is_text: bool) -> Finding:
    """Joined texts are how models are pre-trained; joined conversations are a mistake."""
    training = evidence.training or {}
    strategy = training.get("packing_strategy")
    path, value = (
        ("/training/packing_strategy", "bfd") if strategy == "wrapped" else ("/training/neat_packing", True)
    )
    how = "joined and cut to length" if strategy == "wrapped" else "packed without borders between them"
    return Finding(
        message=f"Rows are {how}: a row attends to the ones before it, with every attention backend.",
        severity=Severity.INFO if is_text else Severity.WARNING,
        location=Location(config_path="/training/packing"),
        evidence={
            "packing_strategy": strategy,
            "neat_packing": training.get("neat_packing"),
            "attn_implementation": training.get("attn_implementation"),
        },
        fix=Fix(description="Pack whole rows, with borders.", patch=[set_value(evidence, path, value)]),
        alternatives=[Fix(description="Do not pack.", patch=[remove("/training/packing")])],
    )


def _old_version(evidence: Evidence, target: str, attention: str) -> Finding:
    return Finding(
        message=f"transformers {target} of the target cluster looks at the borders of packed rows with flash "
        f"attention only (later versions do with sdpa and eager too), and the job uses {attention}.",
        severity=Severity.WARNING,
        location=Location(config_path="/training/packing"),
        evidence={"transformers": target, "attn_implementation": attention},
        fix=Fix(description="Do not pack.", patch=[remove("/training/packing")]),
        alternatives=[
            Fix(
                description="Use flash attention.",
                patch=[set_value(evidence, "/training/attn_implementation", "flash_attention_2")],
            )
        ],
    )


def _release(version: str) -> tuple[int, ...]:
    numbers = re.findall(r"\d+", version)[:2]
    return tuple(int(number) for number in numbers)
