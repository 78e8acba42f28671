"""Reentrant checkpointing without an input that requires a gradient: the cause behind two rules."""

from __future__ import annotations

from hotfire.rules.evidence import Evidence

REENTRANT_WORDS = (
    "reentrant activation checkpointing with a frozen embedding: no input of the checkpointed blocks "
    "requires a gradient, "
    "so they have no graph"
)


def is_reentrant_without_input_gradients(evidence: Evidence) -> bool:
    """The job checkpoints, freezes what feeds the blocks, and does not ask for input gradients.

    `use_reentrant` absent counts: transformers below 5 and torch itself default to reentrant.
    """
    training = evidence.training or {}
    if not training.get("gradient_checkpointing"):
        return False
    if training.get("enable_input_require_grads") is True:
        return False
    kwargs = training.get("gradient_checkpointing_kwargs") or {}
    if kwargs.get("use_reentrant") is False:
        return False
    return bool(training.get("peft") or training.get("frozen") or training.get("trainable"))
