"""The sample as the job's model will see it: read, rendered, tokenised, cut, masked, measured."""

from __future__ import annotations

import itertools
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from hotfire.rules.evidence import DataEvidence, PreparedRow, PrepareRequest, RejectedRow
from hotfire_workers.train.data.encode import Begun, Encoded, Encoder
from hotfire_workers.train.data.family import template_facts
from hotfire_workers.train.data.formats import Item, Layout, RowError, layout_of
from hotfire_workers.train.data.guard import few_collections, memory_limit
from hotfire_workers.train.data.measure import Measure, cut
from hotfire_workers.train.data.media import Media
from hotfire_workers.train.data.observe import Observer, expected_prefix
from hotfire_workers.train.data.packs import Packing, packing_of
from hotfire_workers.train.data.rawrow import RawRow, Reading, excerpt
from hotfire_workers.train.data.read import read_rows
from hotfire_workers.train.data.result import PreparedSample, Result
from hotfire_workers.train.data.sampling import Selection
from hotfire_workers.train.data.scan import Entry, Scan
from hotfire_workers.train.data.shape import Shapes, Traits, traits_of
from hotfire_workers.train.data.stream import SampleError
from hotfire_workers.train.data.texts import Texts

_MAX_TOKENS = 20_000_000
_MAX_TOKENS_SLOW = 200_000
"""Of a sample; a tokenizer in Python does some 20,000 tokens a second."""
_NUM_TO_DETECT = 100
_BATCH_ROWS = 64
_BATCH_CHARACTERS = 1 << 20
_MAX_REJECTED = 10_000
"""Rows whose reason is kept; the others are counted."""
_MEMORY_BYTES = 8 << 30
"""What the preparation of a sample may take besides."""


_Batch = tuple[list[Entry], Begun]


@dataclass(kw_only=True)
class TokenFacts:
    """What the tokenizer and the model say about tokens."""

    tokenizer: Any
    """None: there is none; only rows that are tokenised already can be used then."""
    stop_ids: list[int] = field(default_factory=list)
    end_ids: frozenset[int] = frozenset()
    model_type: str | None = None
    own_template: Any = None
    """The chat template in the model folder."""
    config: dict[str, Any] = field(default_factory=dict)
    """The model's config.json."""
    folder: Path | None = None
    """Of the model, where it has one."""
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
    preparation = _Preparation(request, tokens, evidence)
    try:
        with memory_limit(_MEMORY_BYTES), few_collections():
            return preparation.run()
    except SampleError as error:
        evidence.read_error = str(error)
        return PreparedSample(evidence=evidence, texts=preparation.texts.lines)


class _Preparation:
    """One pass over the sample."""

    def __init__(self, request: PrepareRequest, tokens: TokenFacts, evidence: DataEvidence):
        self.request, self.tokens, self.evidence = request, tokens, evidence
        self.redact = bool(request.data.get("redact"))
        self.reading = Reading()
        self.shapes = Shapes()
        self.texts = Texts()
        self.selection = Selection()
        self.num_tokens = 0
        self.num_more_rejected = 0
        self.packing: Packing | None = None
        self.why_not_packed: str | None = None
        is_fast = getattr(tokens.tokenizer, "is_fast", True)
        self.max_tokens = request.max_tokens or (_MAX_TOKENS if is_fast else _MAX_TOKENS_SLOW)
        self.ends_at = time.monotonic() + request.time_limit_s

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
        raw = self._raw_rows()
        head = list(itertools.islice(raw, _NUM_TO_DETECT))
        layout = self._layout(head)
        self.evidence.format = layout.format
        tokenizer = self.tokens.tokenizer
        if tokenizer is None and layout.format != "TOKENIZED":
            return self._without_tokenizer(layout, itertools.chain(head, raw))
        encoder = Encoder(
            tokenizer,
            self.request.training,
            shape=layout.shape,
            end_ids=self.tokens.end_ids,
            only_completion=layout.format == "PREFERENCE",
        )
        if layout.shape == "MESSAGES":
            _require_template(encoder)
        return self._tokenise(
            layout, encoder, itertools.chain(head, raw), has_labels=_have_labels(layout, head)
        )

    # ---- reading ----

    def _raw_rows(self) -> Iterator[RawRow]:
        data, evidence = self.request.data, self.evidence
        rows = read_rows(
            Path(data["path"]),
            reading=self.reading,
            columns=(data.get("columns") or {}).values(),
            as_text=_format(self.request) == "TEXT",
        )
        for raw in rows:
            if evidence.num_rows_read >= self.request.max_rows:
                self.reading.stopped = f"the sample has more than {self.request.max_rows:,} rows"
                break
            if time.monotonic() > self.ends_at:
                self.reading.stopped = f"reading took longer than {self.request.time_limit_s:g} s"
                break
            evidence.num_rows_read += 1
            if raw.value is None:
                self.reject(raw.row, raw.problem or "unreadable", excerpt_text=raw.excerpt)
            else:
                self.shapes.see_columns(raw.row, raw.value)
                yield raw
        if self.reading.stopped:
            evidence.notes.append(f"{self.reading.stopped}: the first {evidence.num_rows_read:,} were read")

    def _layout(self, head: list[RawRow]) -> Layout:
        if not head:
            if not self.evidence.rejected:
                raise SampleError("The sample has no rows. Give at least one row, one JSON object per line.")
            first = self.evidence.rejected[0]
            raise SampleError(
                f"No row of the sample can be read (row {first.row}: {first.reason}). Give JSON Lines, one whole "
                "JSON object per line, a JSON array of objects, CSV with a header, or Parquet; for lines of "
                "plain text set data.format: text."
            )
        layout = layout_of(
            [raw.value or {} for raw in head],
            format=_format(self.request),
            columns=self.request.data.get("columns"),
            role_mapping=self.request.data.get("role_mapping"),
        )
        tokenizer = self.tokens.tokenizer
        if tokenizer is not None:
            layout.has_template = bool(tokenizer.chat_template)
            layout.end_text = tokenizer.eos_token or ""
        return layout

    def _items(self, layout: Layout, rows: Iterator[RawRow]) -> Iterator[Entry]:
        for raw in rows:
            value = raw.value or {}
            try:
                item = layout.item(raw.row, value)
                traits = traits_of(item, value)
            except RowError as error:
                self.reject(raw.row, str(error), kind=error.kind, value=value)
                continue
            self.shapes.see(item, traits)
            yield item, raw, traits

    def _without_tokenizer(self, layout: Layout, rows: Iterator[RawRow]) -> PreparedSample:
        """No tokenizer: the rows can still be malformed."""
        for _ in self._items(layout, rows):
            pass
        self.evidence.extra = {**self.shapes.facts(), "byte_order_mark": self.reading.byte_order_mark}
        self.evidence.notes += [*self.reading.notes, *self.shapes.notes()]
        self.evidence.notes.append("the rows were not tokenised: the tokenizer could not be loaded")
        return PreparedSample(evidence=self.evidence, texts=self.texts.lines)

    # ---- tokenising ----

    def _tokenise(
        self, layout: Layout, encoder: Encoder, raw_rows: Iterator[RawRow], *, has_labels: bool
    ) -> PreparedSample:
        evidence, tokens = self.evidence, self.tokens
        if has_labels:
            encoder.mask_source = "labels"
        evidence.collator = _collator(self.request.training, encoder.mask_source)
        self.packing, self.why_not_packed = packing_of(self.request.training, layout.format)
        if self.packing is not None and not self.packing.truncates:
            evidence.max_length = None  # it is the length of the packs, no row loses anything
        measure = self._measure(masked=encoder.mask_source != "all")
        observer = Observer(
            tokens.tokenizer,
            expected_prefix=expected_prefix(tokens.tokenizer, tokens.model_type),
            media=Media(tokens.config, tokens.folder),
        )
        look = _Look(self, encoder, measure, observer)
        items = self._items(layout, raw_rows)
        # One batch ahead: its texts are tokenised while the rows before them are measured.
        begun: _Batch | None = None
        for batch in _batches(items):
            before, begun = begun, look.begin(batch)
            if before is not None:
                look.take(before)
            if self.num_tokens >= self.max_tokens:
                break
        if begun is not None:
            look.take(begun)
        if self.num_tokens >= self.max_tokens:
            self._scan(items, look, behind=batch[-1][0].row)
        evidence.mask_source = encoder.mask_source
        if layout.format == "PREFERENCE":
            evidence.rejected_answers = look.worse
        evidence.num_rows_usable = len(evidence.rows)
        evidence.rejected.sort(key=lambda r: r.row)
        if self.num_more_rejected:
            evidence.notes.append(f"{self.num_more_rejected:,} more rows were rejected than are listed")
        evidence.notes += [*encoder.notes, *self._collator_notes(layout)]
        evidence.notes += [*self.reading.notes, *self.shapes.notes()]
        evidence.extra = {
            **self._extra(encoder, measure, observer),
            **self.shapes.facts(),
            "byte_order_mark": self.reading.byte_order_mark,
            "container": self.reading.container,
            "num_rows_not_listed": self.num_more_rejected,
            "why_not_packed": self.why_not_packed,
        }
        decode = None if self.redact or tokens.tokenizer is None else measure.decode
        return Result(evidence, self.selection, decode, self.packing).finish(self.request, self.texts.lines)

    def _scan(self, items: Iterator[Entry], look: _Look, *, behind: int) -> None:
        """What lies behind the rows that can all be tokenised: the odd ones are tokenised too."""
        scan = Scan(self.shapes.kinds)
        for entry in items:
            look.observer.see_value(entry[1].value or {})
            scan.see(entry)
        if not scan.num_rows:
            return
        picked = scan.picked()
        look.take(look.begin(picked), are_counted=True)
        self.evidence.notes.append(
            f"of the {scan.num_rows:,} rows behind row {behind} {len(picked)} were tokenised (the longest, the "
            f"shortest, new kinds, one in a thousand): up to there it is {self.max_tokens:,} tokens"
        )

    def _measure(self, *, masked: bool) -> Measure:
        tokenizer = self.tokens.tokenizer
        return Measure(
            tokenizer=tokenizer,
            collator=self.evidence.collator or "PADDING",
            pad_token_id=self.evidence.pad_token_id,
            bos_token_id=self.evidence.bos_token_id,
            end_token_ids=self.tokens.end_ids,
            max_length=self.evidence.max_length,
            # Packing cuts the end off, whatever truncation_side says.
            truncation_side="right"
            if self.packing
            else _side(self.request.training, "truncation_side", tokenizer),
            masked=masked,
        )

    def _extra(self, encoder: Encoder, measure: Measure, observer: Observer) -> dict[str, Any]:
        template = encoder.template
        return {
            **observer.facts(),
            **template_facts(self.tokens.tokenizer, self.tokens.own_template),
            "end_token_ids": sorted(self.tokens.end_ids),
            "padding_side": _side(self.request.training, "padding_side", self.tokens.tokenizer),
            "truncation_side": measure.truncation_side,
            "unknown_roles": dict(encoder.unknown_roles),
            "role_suggestions": template.suggestions() if template else {},
            "template_has_generation": template.has_generation if template else None,
        }

    def _collator_notes(self, layout: Layout) -> list[str]:
        notes = []
        if self.evidence.collator == "LANGUAGE_MODELING" and self.evidence.mask_source != "all":
            notes.append(
                "DataCollatorForLanguageModeling replaces the labels by a copy of the ids: the mask that was "
                "asked for does not reach the model"
            )
        if self.why_not_packed:
            notes.append(f"rows are not packed: {self.why_not_packed}")
        if layout.format == "PREFERENCE":
            notes.append(
                "trials train on the chosen side of each pair, with cross-entropy: the rejected side and the loss "
                "over pairs (DPO and its kin) are not run"
            )
        if layout.format == "ALPACA" and not layout.has_template:
            notes.append(
                "the tokenizer has no chat template: ALPACA rows become the prompt of stanford_alpaca"
            )
        return notes

    def reject(
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
            self.texts.add(value)
        elif excerpt_text:
            self.texts.add(excerpt_text)
        if len(self.evidence.rejected) >= _MAX_REJECTED:
            self.num_more_rejected += 1
            return
        self.evidence.rejected.append(
            RejectedRow(row=row, reason=reason, kind=kind, excerpt=None if self.redact else excerpt_text)
        )


class _Look:
    """Encodes, observes, measures and offers rows, batch by batch."""

    def __init__(self, preparation: _Preparation, encoder: Encoder, measure: Measure, observer: Observer):
        self._of = preparation
        self._encoder, self._measure, self.observer = encoder, measure, observer
        self.worse: list[PreparedRow] = []

    def begin(self, batch: list[Entry]) -> _Batch:
        """Has some rows tokenised."""
        return batch, self._encoder.begin([item for item, _, _ in batch])

    def take(self, begun: _Batch, *, are_counted: bool = False) -> None:
        """Takes them in; their columns may have been counted already."""
        batch, encodings = begun
        for (item, raw, traits), encoded in zip(batch, self._encoder.finish(encodings), strict=True):
            if not are_counted:
                self.observer.see_value(raw.value or {})
            if isinstance(encoded, RowError):
                self._of.reject(item.row, str(encoded), kind=encoded.kind, value=raw.value)
            else:
                self._take_row(item, raw, traits, encoded)

    def _take_row(self, item: Item, raw: RawRow, traits: Traits, encoded: Encoded) -> None:
        of, side, max_length = self._of, self._measure.truncation_side, self._measure.max_length
        num_listed = self.observer.num_listed()
        kept = min(len(encoded.input_ids), max_length or len(encoded.input_ids))
        self.observer.see(item, encoded, value=raw.value, kept=kept, side=side)
        row = self._measure.row(encoded)
        of.num_tokens += len(encoded.input_ids)
        of.evidence.rows.append(row)
        if encoded.worse is not None:
            worse = self._measure.row(encoded.worse)
            worse.input_ids, worse.labels = [], []
            self.worse.append(worse)
            of.num_tokens += len(encoded.worse.input_ids)
        mask = encoded.attention_mask
        of.selection.offer(
            row,
            traits.kinds,
            cut(mask, max_length, side) if mask is not None else None,
            is_named=self.observer.num_listed() > num_listed,
        )
        if row.input_ids:
            of.texts.add(raw.value)


def _batches(items: Iterator[Entry]) -> Iterator[list[Entry]]:
    batch: list[Entry] = []
    size = 0
    for entry in items:
        batch.append(entry)
        size += entry[2].num_characters
        if len(batch) >= _BATCH_ROWS or size >= _BATCH_CHARACTERS:
            yield batch
            batch, size = [], 0
    if batch:
        yield batch


def _require_template(encoder: Encoder) -> None:
    """Raises `SampleError` where there is no chat template, or one that is no template."""
    if encoder.template is None:
        raise SampleError(
            "Rows of conversations need a chat template, and the tokenizer has none. Set "
            "training.chat_template, or put chat_template.jinja into the model folder."
        )
    try:
        encoder.template.check()
    except Exception as error:
        if type(error).__name__ == "TemplateSyntaxError":
            line = getattr(error, "lineno", "?")
            raise SampleError(
                f"The chat template is not valid Jinja (line {line}): {error}. Correct it."
            ) from error
        if type(error).__name__ == "TookTooLongError":
            raise SampleError(
                f"The chat template does not come to an end, not even on one short turn ({error}): it loops. "
                "Correct it."
            ) from error


def _have_labels(layout: Layout, head: list[RawRow]) -> bool:
    name = layout.name("labels")
    return layout.format == "TOKENIZED" and any((raw.value or {}).get(name) is not None for raw in head)


def _format(request: PrepareRequest) -> str:
    return str(request.data.get("format") or "AUTO").removeprefix("FORMAT_").upper()


def _collator(training: dict[str, Any], mask_source: str) -> str:
    asked = str(training.get("collator") or "AUTO").removeprefix("COLLATOR_").upper()
    if asked not in ("AUTO", "UNSPECIFIED"):
        return asked
    return "PADDING" if mask_source == "all" else "COMPLETION"


def _side(training: dict[str, Any], name: str, tokenizer: Any) -> str:
    side = training.get(name) or getattr(tokenizer, name, None)
    return side if side in ("left", "right") else "right"
