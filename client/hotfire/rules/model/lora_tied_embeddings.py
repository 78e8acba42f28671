"""M105 lora-tied-embeddings."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from hotfire.rules.engine import Rule, Skip
from hotfire.rules.evidence import Evidence, Finding, Fix, Location, ModelFacts, Severity
from hotfire.rules.remedy import set_value
from hotfire.rules.wording import listed


class LoraTiedEmbeddings(Rule):
    """An adapter trains one side of a tie, or none of the rows of new tokens.

    Why:
        Many small models have one weight for input embedding and output head. An adapter on one of the two
        changes only that side: the merged model is another one than was trained. And where tokens were added
        and the adapter is on the attention alone, their rows stay as they were made: the model can neither
        read nor write them.

    Example:
        `target_modules: [q_proj, embed_tokens]` on Qwen2.5-0.5B, or `eos_token: "<|my_end|>"` (a new token)
        with LoRA on `q_proj`.

    Fix:
        `ensure_weight_tying: true` (PEFT 0.19 and later), or no adapter on the embedding; for new tokens
        `modules_to_save` or `trainable_token_indices`.

    Source:
        huggingface/peft commits 679bcd877, 461f6426e, 06f042cf4; huggingface/trl commit 8a23c866f.
    """

    id = "M105"
    name = "lora-tied-embeddings"
    severity = Severity.WARNING
    needs = ("model", "training")

    def examine(self, evidence: Evidence) -> Iterable[Finding]:
        """One finding for the tie, one for new tokens that are never trained."""
        model, peft = evidence.model, (evidence.training or {}).get("peft")
        assert model is not None
        if not isinstance(peft, dict) or not peft:
            raise Skip("the job has no adapter")
        if model.tied_embeddings is None:
            raise Skip("whether embedding and head are one weight was not looked at")
        if model.tied_embeddings and len(model.adapted_sides) == 1:
            yield _tie_finding(evidence, model, peft)
        untrained = _untrained_tokens(evidence, model)
        if untrained:
            yield _new_tokens_finding(evidence, model, peft, untrained)


def _tie_finding(evidence: Evidence, model: ModelFacts, peft: dict[str, Any]) -> Finding:
    (side,) = model.adapted_sides
    name = model.embedding_module if side == "embedding" else model.head_module
    other = model.head_module if side == "embedding" else model.embedding_module
    last = (name or "").rpartition(".")[2]
    fixes = []
    if model.ties_adapters:
        fixes.append(
            Fix(
                description="Keep the tie: let PEFT adapt both sides as one.",
                patch=[set_value(evidence, "/training/peft/ensure_weight_tying", True)],
            )
        )
    for key in ("target_modules", "modules_to_save"):
        entries = peft.get(key)
        if isinstance(entries, list) and any(e in (last, name) for e in entries):
            rest = [e for e in entries if e not in (last, name)]
            if rest or key == "modules_to_save":
                fixes.append(
                    Fix(
                        description=f"Leave {last} out of {key}.",
                        patch=[set_value(evidence, f"/training/peft/{key}", rest)],
                    )
                )
    return Finding(
        message=f"{name} and {other} are one weight, and the adapter trains {name} only: after merging, or "
        "when the model is saved, the two sides differ from what was trained.",
        location=Location(config_path="/training/peft", module=name),
        evidence={
            "adapted_sides": list(model.adapted_sides),
            "embedding_module": model.embedding_module,
            "head_module": model.head_module,
        },
        fix=fixes[0] if fixes else Fix(description=f"Leave {last} out of the adapter."),
        alternatives=fixes[1:],
    )


def _untrained_tokens(evidence: Evidence, model: ModelFacts) -> dict[str, int]:
    """Tokens that the job added, that rows use, and whose rows the adapter leaves alone."""
    if model.adapted_sides:
        return {}
    pad, end = model.special_token_ids.get("pad"), model.special_token_ids.get("eos")
    padding = {pad} - {end}
    return {token: i for token, i in model.new_tokens.items() if i not in padding and _is_used(evidence, i)}


def _is_used(evidence: Evidence, token_id: int) -> bool:
    rows = evidence.data.rows if evidence.data else []
    return any(row.max_token_id is not None and row.max_token_id >= token_id for row in rows)


def _new_tokens_finding(
    evidence: Evidence, model: ModelFacts, peft: dict[str, Any], tokens: dict[str, int]
) -> Finding:
    sides = [model.embedding_module, *([] if model.tied_embeddings else [model.head_module])]
    names = [name.rpartition(".")[2] for name in sides if name]
    saved = list(dict.fromkeys([*(peft.get("modules_to_save") or []), *names]))
    patch = [set_value(evidence, "/training/peft/modules_to_save", saved)]
    if model.tied_embeddings and model.ties_adapters:
        patch.append(set_value(evidence, "/training/peft/ensure_weight_tying", True))
    return Finding(
        message=f"The job adds {listed(tokens)} to the tokenizer, rows use them, and the adapter trains neither "
        "the embedding nor the head: the model can neither read nor write them.",
        location=Location(config_path="/training/peft", module=model.embedding_module),
        evidence={"new_tokens": tokens, "adapted_sides": []},
        fix=Fix(description=f"Train {' and '.join(names)} besides.", patch=patch),
        alternatives=[
            Fix(
                description="Train the new rows alone.",
                patch=[
                    set_value(evidence, "/training/peft/trainable_token_indices", sorted(tokens.values()))
                ],
            )
        ],
    )
