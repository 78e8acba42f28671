"""The run rules: the evidence of one trial at a time."""

from __future__ import annotations

from hotfire.rules.engine import Rule
from hotfire.rules.run.accumulation_scaling import AccumulationScaling
from hotfire.rules.run.all_steps_skipped import AllStepsSkipped
from hotfire.rules.run.clipping_saturated import ClippingSaturated
from hotfire.rules.run.crash import Crash
from hotfire.rules.run.decay_only_update import DecayOnlyUpdate
from hotfire.rules.run.gradient_sentinel import GradientSentinel
from hotfire.rules.run.hang import Hang
from hotfire.rules.run.learning_rate_off_plan import LearningRateOffPlan
from hotfire.rules.run.loss_diverging import LossDiverging
from hotfire.rules.run.no_gradient_for_trainable import NoGradientForTrainable
from hotfire.rules.run.non_finite_gradient import NonFiniteGradient
from hotfire.rules.run.non_finite_loss import NonFiniteLoss
from hotfire.rules.run.nondeterministic import Nondeterministic
from hotfire.rules.run.out_of_memory import OutOfMemory
from hotfire.rules.run.parameters_unchanged import ParametersUnchanged
from hotfire.rules.run.ranks_diverge import RanksDiverge
from hotfire.rules.run.ranks_see_same_data import RanksSeeSameData
from hotfire.rules.run.trainer_log_misleads import TrainerLogMisleads
from hotfire.rules.run.update_below_precision import UpdateBelowPrecision
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
    UpdateBelowPrecision(),
    DecayOnlyUpdate(),
    AllStepsSkipped(),
    LossDiverging(),
    LearningRateOffPlan(),
    ClippingSaturated(),
    AccumulationScaling(),
    RanksDiverge(),
    RanksSeeSameData(),
    OutOfMemory(),
    Hang(),
    Crash(),
    Nondeterministic(),
    TrainerLogMisleads(),
)
