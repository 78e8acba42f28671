"""The sample as the job's model will see it: read, rendered, tokenised, cut, masked, measured."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from hotfire.rules.evidence import DataEvidence, PreparedRow, PrepareRequest, RejectedRow, Sample
from hotfire_workers.train.data.encode import Encoder
from hotfire_workers.train.data.formats import Layout, RowError, layout_of
from hotfire_workers.train.data.measure import Measure, cut
from hotfire_workers.train.data.observe import Observer, expected_prefix
from hotfire_workers.train.data.read import RawRow, excerpt, read_rows
from hotfire_workers.train.data.samples import notable_rows, token_view
from hotfire_workers.train.data.stream import SampleError

_MAX_TOKENS = 1_000_000
_MAX_TOKENS_SLOW = 200_000
"""Of a sample; a tokenizer in Python does some 20,000 tokens a second."""
_NUM_TO_DETECT = 100
_MAX_VIEWED_TOKENS = 50_000


@dataclass(kw_only=True)
class PreparedSample:
    """The evidence, and what trials and `GetRow` need besides."""

    evidence: DataEvidence
    batch_rows: list[dict[str, Any]] = field(default_factory=list)
    """Lines of rows.jsonl, in the order in which trials take them."""
    views: list[Sample] = field(default_factory=list)
    """Token views of those rows, as many as fit."""


@dataclass(kw_only=True)
class TokenFacts:
    """What the tokenizer and the model say about tokens."""

    tokenizer: Any
    """None: there is none; only rows that are tokenised already can be used then."""
    stop_ids: list[int] = field(default_factory=list)
    end_ids: frozenset[int] = frozenset()
    model_type: str | None = None
    notes: list[str] = field(default_factory=list)


def prepare_sample(request: PrepareRequest, tokens: TokenFacts) -> PreparedSample:
    """Reads and tokenises the sample. Never raises for what is wrong with it: that is in the evidence."""
    tokenizer, training = tokens.tokenizer, request.training
    evidence = DataEvidence(
        micro_batch_size=request.micro_batch_size,
        pad_token_id=getattr(tokenizer, "pad_token_id", None),
        bos_token_id=getattr(tokenizer, "bos_token_id", None),
        eos_token_ids=tokens.stop_ids,
        tokenizer_length=len(tokenizer) if tokenizer is not None else None,
        max_length=training.get("max_length"),
        notes=list(tokens.notes),
    )
    try:
        return _Preparation(request, tokens, evidence).run()
    except SampleError as error:
        evidence.read_error = str(error)
        return PreparedSample(evidence=evidence)


class _Preparation:
    """One pass over the sample."""

    def __init__(self, request: PrepareRequest, tokens: TokenFacts, evidence: DataEvidence):
        self.request, self.tokens, self.evidence = request, tokens, evidence
        self.redact = bool(request.data.get("redact"))
        self.attention_masks: dict[int, list[int]] = {}

    def run(self) -> PreparedSample:
        """Reads every row once.

        Raises:
            SampleError: The sample as a whole cannot be used.
        """
        max_length = self.evidence.max_length
        if max_length is not None and max_length < 1:
            raise SampleError(f"training.max_length is {max_length}: it must be at least 1.")
        if not self.request.data.get("path"):
            raise SampleError("No sample was given. Set data.rows, data.artifact or data.uri.")
        raw = iter(self._raw_rows())
        head = list(itertools.islice(raw, _NUM_TO_DETECT))
        layout = self._layout(head)
        self.evidence.format = layout.format
        tokenizer = self.tokens.tokenizer
        if tokenizer is None and layout.format != "TOKENIZED":
            return self._without_tokenizer(layout, itertools.chain(head, raw))
        encoder = Encoder(tokenizer, self.request.training, format=layout.format, end_ids=self.tokens.end_ids)
        if layout.format == "MESSAGES":
            _require_template(encoder, tokenizer)
        return self._tokenise(layout, encoder, itertools.chain(head, raw))

    def _raw_rows(self) -> Iterator[RawRow]:
        path = Path(self.request.data["path"])
        for raw in itertools.islice(read_rows(path), self.request.max_rows):
            self.evidence.num_rows_read += 1
            if raw.value is None:
                self._reject(raw.row, raw.problem or "unreadable", excerpt_text=raw.excerpt)
            else:
                yield raw
        if self.evidence.num_rows_read == self.request.max_rows:
            self.evidence.notes.append(f"the first {self.request.max_rows} rows of the sample were looked at")

    def _layout(self, head: list[RawRow]) -> Layout:
        if not head:
            if not self.evidence.rejected:
                raise SampleError("The sample has no rows. Give at least one row, one JSON object per line.")
            first = self.evidence.rejected[0]
            raise SampleError(
                f"No row of the sample is a JSON object (row {first.row}: {first.reason}). Give JSON Lines, "
                "one whole JSON object per line, or a JSON array of objects."
            )
        return layout_of(
            [raw.value or {} for raw in head],
            format=str(self.request.data.get("format") or "AUTO").removeprefix("FORMAT_").upper(),
            columns=self.request.data.get("columns"),
            role_mapping=self.request.data.get("role_mapping"),
        )

    def _without_tokenizer(self, layout: Layout, rows: Iterator[RawRow]) -> PreparedSample:
        """No tokenizer: the rows can still be malformed."""
        for raw in rows:
            try:
                layout.item(raw.row, raw.value or {})
            except RowError as error:
                self._reject(raw.row, str(error), kind=error.kind, value=raw.value)
        self.evidence.notes.append("the rows were not tokenised: the tokenizer could not be loaded")
        return PreparedSample(evidence=self.evidence)

    def _tokenise(self, layout: Layout, encoder: Encoder, raw_rows: Iterator[RawRow]) -> PreparedSample:
        evidence, tokens = self.evidence, self.tokens
        observer = Observer(
            tokens.tokenizer, expected_prefix=expected_prefix(tokens.tokenizer, tokens.model_type)
        )
        encoded_rows = []
        num_tokens, max_tokens = (
            0,
            _MAX_TOKENS if getattr(tokens.tokenizer, "is_fast", True) else _MAX_TOKENS_SLOW,
        )
        for raw in raw_rows:
            observer.see_value(raw.value or {})
            try:
                item = layout.item(raw.row, raw.value or {})
                encoded = encoder.encode(item)
            except RowError as error:
                self._reject(raw.row, str(error), kind=error.kind, value=raw.value)
                continue
            observer.see(item, encoded)
            encoded_rows.append(encoded)
            num_tokens += len(encoded.input_ids)
            if num_tokens >= max_tokens:
                evidence.notes.append(
                    f"rows behind row {raw.row} were not looked at: up to there it is {max_tokens:,} tokens"
                )
                break
        evidence.mask_source = encoder.mask_source
        evidence.collator = _collator(self.request.training, encoder.mask_source)
        measure = self._measure(masked=encoder.mask_source != "all")
        evidence.rows = [measure.row(encoded) for encoded in encoded_rows]
        side = measure.truncation_side
        for encoded in encoded_rows:
            if encoded.attention_mask is not None:
                self.attention_masks[encoded.row] = cut(encoded.attention_mask, evidence.max_length, side)
        evidence.num_rows_usable = len(evidence.rows)
        evidence.rejected.sort(key=lambda r: r.row)
        evidence.notes += encoder.notes + self._collator_notes()
        evidence.extra = self._extra(encoder, measure, observer)
        return self._result(None if self.redact or tokens.tokenizer is None else measure.decode)

    def _measure(self, *, masked: bool) -> Measure:
        tokenizer = self.tokens.tokenizer
        return Measure(
            tokenizer=tokenizer,
            collator=self.evidence.collator or "PADDING",
            pad_token_id=self.evidence.pad_token_id,
            bos_token_id=self.evidence.bos_token_id,
            end_token_ids=self.tokens.end_ids,
            max_length=self.evidence.max_length,
            truncation_side=_side(self.request.training, "truncation_side", tokenizer),
            masked=masked,
        )

    def _result(self, decode: Callable[[list[int]], str] | None) -> PreparedSample:
        evidence = self.evidence
        notable = notable_rows(evidence.rows)
        shown = list(notable.items())[: self.request.num_samples]
        evidence.samples = [token_view(evidence.rows[i], why=why, decode=decode) for i, why in shown]
        # The rows that are worth a look come first, so that a few steps meet them; then the file's order.
        order = [*notable, *(i for i in range(len(evidence.rows)) if i not in notable)]
        rows = [evidence.rows[i] for i in order]
        views, num_viewed = [], 0
        for index, row in zip(order, rows, strict=True):
            num_viewed += row.num_tokens
            if num_viewed > _MAX_VIEWED_TOKENS:
                break
            views.append(token_view(row, why=notable.get(index, ""), decode=decode))
        return PreparedSample(evidence=evidence, batch_rows=[self._batch_row(r) for r in rows], views=views)

    def _batch_row(self, row: PreparedRow) -> dict[str, Any]:
        mask = self.attention_masks.get(row.row) or [1] * row.num_tokens
        return {"row": row.row, "input_ids": row.input_ids, "labels": row.labels, "attention_mask": mask}

    def _extra(self, encoder: Encoder, measure: Measure, observer: Observer) -> dict[str, Any]:
        template = encoder.template
        return {
            **observer.facts(),
            "end_token_ids": sorted(self.tokens.end_ids),
            "padding_side": _side(self.request.training, "padding_side", self.tokens.tokenizer),
            "truncation_side": measure.truncation_side,
            "unknown_roles": dict(encoder.unknown_roles),
            "role_suggestions": template.suggestions() if template else {},
            "template_has_generation": template.has_generation if template else None,
        }

    def _collator_notes(self) -> list[str]:
        notes = []
        if self.evidence.collator == "LANGUAGE_MODELING" and self.evidence.mask_source != "all":
            notes.append(
                "DataCollatorForLanguageModeling replaces the labels by a copy of the ids: the mask that was "
                "asked for does not reach the model"
            )
        if self.request.training.get("packing"):
            notes.append("packing is not applied in trials: rows are padded instead")
        return notes

    def _reject(
        self,
        row: int,
        reason: str,
        *,
        kind: str = "malformed",
        excerpt_text: str | None = None,
        value: dict[str, Any] | None = None,
    ) -> None:
        if value is not None:
            excerpt_text = excerpt(str(value))
        self.evidence.rejected.append(
            RejectedRow(row=row, reason=reason, kind=kind, excerpt=None if self.redact else excerpt_text)
        )


def _require_template(encoder: Encoder, tokenizer: Any) -> None:
    """Raises `SampleError` where there is no chat template, or one that is no template."""
    if encoder.template is None:
        raise SampleError(
            "Rows of format MESSAGES need a chat template, and the tokenizer has none. Set "
            "training.chat_template, or put chat_template.jinja into the model folder."
        )
    try:
        tokenizer.apply_chat_template([{"role": "user", "content": "hello"}], tokenize=False)
    except Exception as error:
        if type(error).__name__ == "TemplateSyntaxError":
            line = getattr(error, "lineno", "?")
            raise SampleError(
                f"The chat template is not valid Jinja (line {line}): {error}. Correct it."
            ) from error


def _collator(training: dict[str, Any], mask_source: str) -> str:
    asked = str(training.get("collator") or "AUTO").removeprefix("COLLATOR_").upper()
    if asked not in ("AUTO", "UNSPECIFIED"):
        return asked
    return "PADDING" if mask_source == "all" else "COMPLETION"


def _side(training: dict[str, Any], name: str, tokenizer: Any) -> str:
    side = training.get(name) or getattr(tokenizer, name, None)
    return side if side in ("left", "right") else "right"
