"""The ZeRO rules: the candidate against the run without DeepSpeed and other stages."""

from __future__ import annotations

from hotfire.rules.engine import Rule
from hotfire.rules.zero.guilty_key import GuiltyKey
from hotfire.rules.zero.not_exercised import NotExercised
from hotfire.rules.zero.zero_diverges_from_reference import ZeroDivergesFromReference
from hotfire.rules.zero.zero_not_the_cause import ZeroNotTheCause
from hotfire.rules.zero.zero_stage_does_not_train import ZeroStageDoesNotTrain

ZERO_RULES: tuple[Rule, ...] = (
    ZeroNotTheCause(),
    ZeroStageDoesNotTrain(),
    ZeroDivergesFromReference(),
    GuiltyKey(),
    NotExercised(),
)
