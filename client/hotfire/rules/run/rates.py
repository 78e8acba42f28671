"""Learning rates of a trial, and the lower one to propose."""

from __future__ import annotations

from hotfire.rules.evidence import Evidence, Trial

#: What is usual for the whole model and for adapters: a rate far above is lowered to these at once.
_USUAL_FULL = 2e-5
_USUAL_ADAPTERS = 2e-4


def highest_rate(trial: Trial) -> float:
    """The highest learning rate that any step ran at; 0.0 where none was measured."""
    return max((step.learning_rate for step in trial.steps if step.learning_rate is not None), default=0.0)


def lower_rate(trial: Trial, evidence: Evidence) -> float:
    """A tenth of the highest rate, or what is usual if that is lower still."""
    usual = _USUAL_ADAPTERS if (evidence.training or {}).get("peft") else _USUAL_FULL
    highest = highest_rate(trial) or float((evidence.training or {}).get("learning_rate") or usual)
    proposed = min(highest / 10, usual)
    return float(f"{proposed:.3g}")
