"""What of the sample may leave the worker.

Row text stands in `report.data.samples`, in the evidence of findings and in `GetRow`, nowhere else; with
`data.redact` nowhere at all. Whatever the libraries put into an error text is cut where row text begins.
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass, field
from typing import Any

from google.protobuf.descriptor import FieldDescriptor
from google.protobuf.message import Message

from hotfire.rules.evidence import Finding, Sample, Trial
from hotfire.v1 import report_pb2
from hotfire_workers import rowtexts
from hotfire_workers.events import Event, Sink

#: So many characters in a row are no coincidence.
_SHINGLE = 24
_REMOVED = "[row text removed]"
#: Keys of a finding's evidence under which row text stands.
_TEXT_KEYS = {"first_characters", "excerpt", "text"}


@dataclass(slots=True)
class Redactor:
    """Knows the sample's texts, and finds them in others.

    Attributes:
        redact: `data.redact`: no row text at all.
    """

    redact: bool = False
    _shingles: set[str] = field(default_factory=set)

    def learn(self, path: str | None) -> None:
        """Reads the sample's texts. Cheap: one entry for every 24 characters.

        Args:
            path: What the preparation left of them, or the sample itself; None: there is none.
        """
        for text in rowtexts.private_texts(path, min_length=_SHINGLE):
            for start in range(0, len(text) - _SHINGLE + 1, _SHINGLE):
                self._shingles.add(text[start : start + _SHINGLE])

    def cut(self, text: str) -> str:
        """The text up to where row text begins."""
        if not self._shingles:
            return text
        for start in range(len(text) - _SHINGLE + 1):
            if text[start : start + _SHINGLE] in self._shingles:
                return text[:start] + _REMOVED
        return text

    def trial(self, trial: Trial) -> Trial:
        """A trial whose error and reason hold no row text."""
        error = trial.error
        if error is not None:
            error = dataclasses.replace(
                error,
                message=self.cut(error.message),
                log_tail=[] if self.redact else [self.cut(line) for line in error.log_tail],
            )
        reason = self.cut(trial.reason) if trial.reason else trial.reason
        return dataclasses.replace(trial, error=error, reason=reason)

    def finding(self, finding: Finding) -> Finding:
        """A finding whose message holds no row text; with `redact` neither does its evidence."""
        evidence = finding.evidence
        if self.redact:
            evidence = {k: self._value(v) for k, v in evidence.items() if k not in _TEXT_KEYS}
        return dataclasses.replace(finding, message=self.cut(finding.message), evidence=evidence)

    def sample(self, sample: Sample) -> Sample:
        """A sample; with `redact` ids and flags only."""
        if not self.redact:
            return sample
        return dataclasses.replace(sample, tokens=[dataclasses.replace(t, text=None) for t in sample.tokens])

    def message(self, message: Message) -> None:
        """With `redact`: the last look at a message, every text of it, in place."""
        if not self.redact or not self._shingles:
            return
        for descriptor, value in message.ListFields():
            is_text = descriptor.cpp_type == FieldDescriptor.CPPTYPE_STRING
            if descriptor.message_type is not None and descriptor.message_type.GetOptions().map_entry:
                for item in value.values():
                    if isinstance(item, Message):
                        self.message(item)
            elif isinstance(value, Message):
                self.message(value)
            elif not isinstance(value, str | bytes) and hasattr(value, "__iter__"):
                for index, item in enumerate(value):
                    if isinstance(item, Message):
                        self.message(item)
                    elif is_text and (shorter := self.cut(item)) != item:
                        value[index] = shorter
            elif is_text and (shorter := self.cut(value)) != value:
                setattr(message, descriptor.name, shorter)

    def _value(self, value: Any) -> Any:
        if isinstance(value, str):
            return self.cut(value)
        if isinstance(value, dict):
            return {k: self._value(v) for k, v in value.items() if k not in _TEXT_KEYS}
        if isinstance(value, list | tuple):
            return [self._value(v) for v in value]
        return value


class RedactedSink:
    """Lets no row text through that may not go."""

    def __init__(self, sink: Sink, redactor: Redactor) -> None:
        self._sink = sink
        self._redactor = redactor
        self.cancelled = sink.cancelled
        self.put_rows = sink.put_rows

    def append(self, event: Event) -> None:
        """Passes the event on."""
        kind = event.WhichOneof("event")
        if kind == "trial_finished":
            self._cut(event.trial_finished.trial)
        self._redactor.message(event)
        self._sink.append(event)

    def _cut(self, trial: report_pb2.Trial) -> None:
        if trial.HasField("reason"):
            trial.reason = self._redactor.cut(trial.reason)
        if trial.HasField("error"):
            trial.error.message = self._redactor.cut(trial.error.message)
            lines = [] if self._redactor.redact else [self._redactor.cut(x) for x in trial.error.log_tail]
            del trial.error.log_tail[:]
            trial.error.log_tail.extend(lines)
