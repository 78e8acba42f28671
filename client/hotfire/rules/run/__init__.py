"""The run rules: the evidence of one trial at a time."""

from __future__ import annotations

from hotfire.rules.engine import Rule
from hotfire.rules.run.all_steps_skipped import AllStepsSkipped
from hotfire.rules.run.crash import Crash
from hotfire.rules.run.gradient_sentinel import GradientSentinel
from hotfire.rules.run.hang import Hang
from hotfire.rules.run.learning_rate_off_plan import LearningRateOffPlan
from hotfire.rules.run.loss_diverging import LossDiverging
from hotfire.rules.run.no_gradient_for_trainable import NoGradientForTrainable
from hotfire.rules.run.non_finite_gradient import NonFiniteGradient
from hotfire.rules.run.non_finite_loss import NonFiniteLoss
from hotfire.rules.run.out_of_memory import OutOfMemory
from hotfire.rules.run.parameters_unchanged import ParametersUnchanged
from hotfire.rules.run.trainer_log_misleads import TrainerLogMisleads
from hotfire.rules.run.zero_gradient import ZeroGradient
from hotfire.rules.run.zero_loss import ZeroLoss

RUN_RULES: tuple[Rule, ...] = (
    NonFiniteLoss(),
    ZeroLoss(),
    ZeroGradient(),
    NonFiniteGradient(),
    GradientSentinel(),
    NoGradientForTrainable(),
    ParametersUnchanged(),
    AllStepsSkipped(),
    LossDiverging(),
    LearningRateOffPlan(),
    OutOfMemory(),
    Hang(),
    Crash(),
    TrainerLogMisleads(),
)
