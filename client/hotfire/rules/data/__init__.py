"""The data rules: the rows through the job's own tokenizer, template and collator."""

from __future__ import annotations

from hotfire.rules.data.answer_truncated import AnswerTruncated
from hotfire.rules.data.broken_text import BrokenText
from hotfire.rules.data.column_dropped import ColumnDropped
from hotfire.rules.data.double_bos import DoubleBos
from hotfire.rules.data.duplicate_rows import DuplicateRows
from hotfire.rules.data.empty_answer import EmptyAnswer
from hotfire.rules.data.eos_not_trained import EosNotTrained
from hotfire.rules.data.malformed_row import MalformedRow
from hotfire.rules.data.mask_misaligned import MaskMisaligned
from hotfire.rules.data.media_placeholders import MediaPlaceholders
from hotfire.rules.data.no_supervised_tokens import NoSupervisedTokens
from hotfire.rules.data.packing_contamination import PackingContamination
from hotfire.rules.data.poor_use_of_tokens import PoorUseOfTokens
from hotfire.rules.data.prompt_in_loss import PromptInLoss
from hotfire.rules.data.role_order import RoleOrder
from hotfire.rules.data.special_token_in_text import SpecialTokenInText
from hotfire.rules.data.template_mismatch import TemplateMismatch
from hotfire.rules.data.token_out_of_range import TokenOutOfRange
from hotfire.rules.data.unknown_role import UnknownRole
from hotfire.rules.data.unreadable_sample import UnreadableSample
from hotfire.rules.engine import Rule

DATA_RULES: tuple[Rule, ...] = (
    NoSupervisedTokens(),
    AnswerTruncated(),
    EosNotTrained(),
    TokenOutOfRange(),
    UnknownRole(),
    MalformedRow(),
    UnreadableSample(),
    DoubleBos(),
    MaskMisaligned(),
    RoleOrder(),
    EmptyAnswer(),
    DuplicateRows(),
    SpecialTokenInText(),
    ColumnDropped(),
    TemplateMismatch(),
    BrokenText(),
    PackingContamination(),
    PromptInLoss(),
    PoorUseOfTokens(),
    MediaPlaceholders(),
)
