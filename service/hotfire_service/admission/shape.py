"""What holds for every message: no unknown field, no unknown enum number."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from google.protobuf.message import Message
from google.protobuf.unknown_fields import UnknownFieldSet

from hotfire_service.errors import InvalidRequest

#: Free-form: what is inside is the user's content, not our schema.
_OPAQUE = ("google.protobuf.Struct", "google.protobuf.Value", "google.protobuf.ListValue")


@dataclass(slots=True)
class Violations:
    """Collects what is wrong, so that the caller hears of it in one answer."""

    found: list[tuple[str, str]] = field(default_factory=list)

    def add(self, path: str, description: str) -> None:
        """One more."""
        self.found.append((path, description))

    def raise_if_any(self) -> None:
        """Raises.

        Raises:
            InvalidRequest: With all of them.
        """
        if self.found:
            raise InvalidRequest(self.found)


def check_shape(message: Message, violations: Violations, path: str = "") -> None:
    """Unknown fields and unknown enum numbers, in the whole tree.

    Binary protobuf carries what the server does not know as field numbers; without this check a newer
    client's field would be dropped in silence.

    Args:
        message: The request.
        violations: Where to put them.
        path: Field path of the message.
    """
    unknown_fields: Any = UnknownFieldSet(message)
    for unknown in unknown_fields:
        known = ", ".join(f.name for f in message.DESCRIPTOR.fields)
        violations.add(
            path or message.DESCRIPTOR.name,
            f"field number {unknown.field_number} is not known to this server (older than the client?); "
            f"known here: {known}",
        )
    for descriptor, value in message.ListFields():
        below = f"{path}.{descriptor.name}" if path else descriptor.name
        if descriptor.enum_type is not None:
            _check_enum(descriptor.enum_type, value, below, violations)
        elif descriptor.message_type is not None and descriptor.message_type.full_name not in _OPAQUE:
            for item, item_path in _items(value, below):
                check_shape(item, violations, item_path)


def _check_enum(enum: Any, value: Any, path: str, violations: Violations) -> None:
    for number in [value] if isinstance(value, int) else value:
        if number not in enum.values_by_number:
            names = ", ".join(v.name for v in enum.values if v.number)
            violations.add(path, f"{number} is not one of {names}")


def _items(value: Any, path: str) -> Iterator[tuple[Message, str]]:
    """The messages of a singular, repeated or map field."""
    if isinstance(value, Message):
        yield value, path
    elif hasattr(value, "items"):
        # A map of plain values holds no message.
        yield from ((v, f"{path}[{k!r}]") for k, v in value.items() if isinstance(v, Message))
    else:
        opaque = {"google.protobuf.Struct", "google.protobuf.Value"}
        yield from ((v, f"{path}[{i}]") for i, v in enumerate(value) if v.DESCRIPTOR.full_name not in opaque)
