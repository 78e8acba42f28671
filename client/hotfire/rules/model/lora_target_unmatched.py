"""M104 lora-target-unmatched."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from hotfire.rules.engine import Rule, Skip
from hotfire.rules.evidence import Evidence, Finding, Fix, Location, ModelFacts, Severity
from hotfire.rules.remedy import set_value
from hotfire.rules.wording import counted, listed

#: What the layers of one place are called in public architectures.
_QUERIES = (
    "q_proj k_proj v_proj query key value query_key_value qkv_proj c_attn Wqkv W_pack wq wk wv "
    "q_a_proj q_b_proj kv_a_proj_with_mqa kv_b_proj"
)
_OUTPUTS = "o_proj out_proj dense c_proj wo attention_output"
_FORWARDS = (
    "gate_proj up_proj down_proj gate_up_proj fc1 fc2 dense_h_to_4h dense_4h_to_h w1 w2 w3 c_fc fc_in fc_out"
)
_PLACES = tuple(frozenset(names.split()) for names in (_QUERIES, _OUTPUTS, _FORWARDS))


class LoraTargetUnmatched(Rule):
    """PEFT targets name no layer of this model.

    Why:
        Where no target matches PEFT refuses, or (for a second adapter, before 0.20) trains nothing. Where only
        some match it says nothing, and the job trains fewer layers than was meant.

    Example:
        `target_modules: ["query_key_value"]` (ChatGLM2, GPT-NeoX) on a model whose layers are called `q_proj`,
        `k_proj` and `v_proj`.

    Fix:
        The names of this model (proposed as a patch), or `all-linear`.

    Source:
        huggingface/peft commit 6a687e9fb; huggingface/accelerate issue 1522; Nerogar/OneTrainer issue 1534.
    """

    id = "M104"
    name = "lora-target-unmatched"
    severity = Severity.ERROR
    needs = ("model", "training")

    def examine(self, evidence: Evidence) -> Iterable[Finding]:
        """ERROR where PEFT refuses, WARNING where some targets match."""
        model, peft = evidence.model, (evidence.training or {}).get("peft")
        assert model is not None
        if not isinstance(peft, dict) or not peft:
            raise Skip("the job has no adapter")
        targets = peft_entries(peft)
        unmatched = [p for p in model.unmatched_patterns if p in targets]
        unmatched += [t for t, n in model.target_matches.items() if not n and t not in unmatched]
        if unmatched:
            yield _unmatched_finding(evidence, model, peft, unmatched)
        elif model.peft_error is not None:
            yield Finding(
                message=f"The adapter cannot be made: {model.peft_error.rstrip('.')}.",
                location=Location(config_path="/training/peft"),
                evidence={"target_matches": dict(model.target_matches)},
                fix=Fix(description="Correct training.peft: its names are those of PEFT's LoraConfig."),
            )
        elif not model.target_matches and model.num_trainable is None:
            raise Skip("which layers the adapter names was not looked at")


def peft_entries(peft: dict[str, Any]) -> list[str]:
    """All names that an adapter's config gives."""
    entries: list[str] = []
    for key in ("target_modules", "modules_to_save", "target_parameters"):
        value = peft.get(key)
        entries += [value] if isinstance(value, str) else [str(entry) for entry in value or []]
    return entries


def _unmatched_finding(
    evidence: Evidence, model: ModelFacts, peft: dict[str, Any], unmatched: list[str]
) -> Finding:
    trains = bool(model.num_trainable)
    matched = [t for t, count in model.target_matches.items() if count]
    names = listed(repr(target) for target in unmatched)
    if trains:
        message = (
            f"{counted(len(unmatched), 'PEFT target matches', 'PEFT targets match')} nothing in this model: "
            f"{names}. Lowered to a warning: {listed(matched) or 'others'} match, and PEFT ignores the rest "
            "without a word."
        )
    else:
        message = f"The adapter trains nothing: {names} match no layer of this model."
    if model.linear_modules:
        message += f" Its linear layers are called {listed(model.linear_modules, limit=8)}."
    return Finding(
        message=message,
        severity=Severity.WARNING if trains else Severity.ERROR,
        location=Location(config_path="/training/peft/target_modules"),
        evidence={
            "unmatched": unmatched,
            "target_matches": dict(model.target_matches),
            "linear_modules": dict(model.linear_modules),
            "num_trainable": model.num_trainable,
        },
        fix=_fix(evidence, model, peft, unmatched),
    )


def _fix(evidence: Evidence, model: ModelFacts, peft: dict[str, Any], unmatched: list[str]) -> Fix:
    saved = peft.get("modules_to_save") or []
    if not model.linear_modules or any(entry in saved for entry in unmatched):
        return Fix(description="Write the names as this model has them, or leave them out.")
    given = peft.get("target_modules")
    entries = [given] if isinstance(given, str) else list(given or [])
    kept = [entry for entry in entries if entry not in unmatched]
    meant = [name for entry in unmatched for name in _same_place(entry, model.linear_modules)]
    targets: Any = list(dict.fromkeys([*kept, *meant])) or "all-linear"
    words = targets if isinstance(targets, str) else ", ".join(targets)
    return Fix(
        description=f"Adapt {words}.",
        patch=[set_value(evidence, "/training/peft/target_modules", targets)],
    )


def _same_place(entry: str, names: dict[str, int]) -> list[str]:
    """Layers of this model that stand where a layer of that name stands in others."""
    last = entry.rpartition(".")[2]
    return [name for place in _PLACES if last in place for name in names if name in place]
