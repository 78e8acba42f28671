"""The data rules: the rows through the job's own tokenizer, template and collator."""

from __future__ import annotations

from hotfire.rules.data.answer_truncated import AnswerTruncated
from hotfire.rules.data.eos_not_trained import EosNotTrained
from hotfire.rules.data.malformed_row import MalformedRow
from hotfire.rules.data.no_supervised_tokens import NoSupervisedTokens
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
)
