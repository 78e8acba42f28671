"""Kinds of parameters: a fault that hides in the total norm shows in the group."""

from __future__ import annotations

import math
import re
from typing import Any

import torch

from hotfire_workers.train.probes.gradients import Parameters
from hotfire_workers.train.probes.updates import Update

GROUPS = ("embedding", "attention", "mlp", "norm", "head", "lora_a", "lora_b", "other")
_MAX_NAMES = 20

# The first that matches names the group: LoRA before the module it adapts, norms before the block they stand
# in.
_PATTERNS = (
    ("lora_a", r"lora_(embedding_)?a(\.|$)"),
    ("lora_b", r"lora_(embedding_)?b(\.|$)"),
    ("norm", r"(^|[._])(\w*norm\w*|ln_?\w*)\.(modules_to_save\.\w+\.)?(weight|bias)$"),
    ("head", r"(^|[._])(lm_head|embed_out|output_layer|output|score|classifier)(\.|$)"),
    ("embedding", r"embed|(^|\.)(wte|wpe)(\.|$)"),
    ("attention", r"attn|attention|\.(q|k|v|o|qkv)_proj(\.|$)"),
    (
        "mlp",
        r"mlp|ffn|feed_forward|expert|\.(gate|up|down|gate_up)_proj(\.|$)|(^|\.)(fc1|fc2|w1|w2|w3)(\.|$)",
    ),
)
_COMPILED = tuple((group, re.compile(pattern)) for group, pattern in _PATTERNS)


def group_of(name: str) -> str:
    """The group of a parameter by its name: "model.layers.0.self_attn.q_proj.weight" -> "attention"."""
    lowered = name.lower()
    return next((group for group, pattern in _COMPILED if pattern.search(lowered)), "other")


class GroupProbe:
    """Sums up the parameters by group."""

    def __init__(self, parameters: Parameters) -> None:
        self._parameters = parameters
        self._members: dict[str, list[int]] = {}
        for position, name in enumerate(parameters.names):
            self._members.setdefault(group_of(name), []).append(position)

    def summary(
        self,
        *,
        squares: torch.Tensor,
        silent: torch.Tensor,
        never_loud: torch.Tensor,
        reached: torch.Tensor,
        update: Update | None,
    ) -> list[dict[str, Any]]:
        """The `ParameterGroup` records, in the order of `GROUPS`, groups without members left out.

        Args:
            squares: Sums of squares of the last applied step's gradients; all masks and sums have shape
                (num parameters,).
            silent: Silent in that step.
            never_loud: Silent in every step so far.
            reached: Reached by some graph.
            update: The last movement measured.
        """
        records = []
        for name in GROUPS:
            members = self._members.get(name)
            if not members:
                continue
            never = [i for i in members if bool(never_loud[i])]
            records.append(
                {
                    "name": name,
                    "num_parameters": len(members),
                    "num_silent_parameters": int(silent[members].sum()),
                    "grad_norm": math.sqrt(total) if (total := float(squares[members].sum())) >= 0 else total,
                    "update_ratio": _ratio(update, members),
                    "silent_parameters": [self._parameters.names[i] for i in never[:_MAX_NAMES]],
                    "num_never_in_graph": sum(not bool(reached[i]) for i in never),
                    "rounded_away_share": update.share_rounded_away(members) if update else None,
                }
            )
        return records


def _ratio(update: Update | None, members: list[int]) -> float | None:
    if update is None:
        return None
    weights = float(update.weights[members].sum())
    moved = float(update.moved[members].sum())
    # lora_B starts at 0: movement without a weight to compare it with.
    return math.sqrt(moved / weights) if weights > 0 and moved >= 0 else None
