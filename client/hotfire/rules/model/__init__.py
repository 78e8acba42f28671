"""The model rules: config.json, tokenizer, what is trainable."""

from __future__ import annotations

from hotfire.rules.engine import Rule
from hotfire.rules.model.host_memory import HostMemoryRule
from hotfire.rules.model.length_over_positions import LengthOverPositions
from hotfire.rules.model.lora_target_unmatched import LoraTargetUnmatched
from hotfire.rules.model.lora_tied_embeddings import LoraTiedEmbeddings
from hotfire.rules.model.nothing_trainable import NothingTrainable
from hotfire.rules.model.pad_is_eos import PadIsEos
from hotfire.rules.model.unreadable_model import UnreadableModel
from hotfire.rules.model.unsafe_model import UnsafeModel
from hotfire.rules.model.vocabulary_mismatch import VocabularyMismatch
from hotfire.rules.model.will_not_fit import WillNotFit

MODEL_RULES: tuple[Rule, ...] = (
    VocabularyMismatch(),
    NothingTrainable(),
    UnsafeModel(),
    UnreadableModel(),
    PadIsEos(),
    LengthOverPositions(),
    LoraTargetUnmatched(),
    LoraTiedEmbeddings(),
    WillNotFit(),
    HostMemoryRule(),
)
