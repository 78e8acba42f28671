"""The config rules."""

from __future__ import annotations

from hotfire.rules.config.accumulation_mismatch import AccumulationMismatch
from hotfire.rules.config.arguments_mismatch import ArgumentsMismatch
from hotfire.rules.config.batch_arithmetic import BatchArithmetic
from hotfire.rules.config.degenerate_schedule import DegenerateSchedule
from hotfire.rules.config.fp16_on_bf16_model import Fp16OnBf16Model
from hotfire.rules.config.ignored_setting import IgnoredSetting
from hotfire.rules.config.known_bad_version import KnownBadVersion
from hotfire.rules.config.launcher_conflict import LauncherConflict
from hotfire.rules.config.loss_scale_range import LossScaleRange
from hotfire.rules.config.misplaced_clipping import MisplacedClipping
from hotfire.rules.config.optimizer_conflict import OptimizerConflict
from hotfire.rules.config.precision_conflict import PrecisionConflict
from hotfire.rules.config.too_few_batches import TooFewBatches
from hotfire.rules.config.unknown_key import UnknownKey
from hotfire.rules.config.unreadable_config import UnreadableConfig
from hotfire.rules.config.unresolved_auto import UnresolvedAuto
from hotfire.rules.config.unsafe_setting import UnsafeSetting
from hotfire.rules.config.unsupported_key_for_version import UnsupportedKeyForVersion
from hotfire.rules.config.wrong_type import WrongType
from hotfire.rules.config.zero3_checkpointing_peft import Zero3CheckpointingPeft
from hotfire.rules.config.zero3_moe_leaf import Zero3MoeLeaf
from hotfire.rules.config.zero3_weights_not_gathered import Zero3WeightsNotGathered
from hotfire.rules.engine import Rule

CONFIG_RULES: tuple[Rule, ...] = (
    UnreadableConfig(),
    UnknownKey(),
    IgnoredSetting(),
    UnsupportedKeyForVersion(),
    WrongType(),
    UnresolvedAuto(),
    BatchArithmetic(),
    ArgumentsMismatch(),
    PrecisionConflict(),
    LossScaleRange(),
    Fp16OnBf16Model(),
    OptimizerConflict(),
    DegenerateSchedule(),
    Zero3WeightsNotGathered(),
    KnownBadVersion(),
    Zero3CheckpointingPeft(),
    Zero3MoeLeaf(),
    MisplacedClipping(),
    AccumulationMismatch(),
    TooFewBatches(),
    UnsafeSetting(),
    LauncherConflict(),
)
