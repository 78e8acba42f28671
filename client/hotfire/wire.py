"""The one place that turns records into messages and messages into JSON.

JSON is the protobuf JSON mapping with original field names, and on top of it (contract, "Conventions"):

* a field that is set is printed, 0 and false too; repeated and map fields are always printed;
* inside a Struct or Value, non-finite numbers are the strings "NaN", "Infinity", "-Infinity", and integral
  numbers are integers (those beyond 2**53, which a double cannot hold, are decimal strings);
* 64-bit integers are strings in output, and numbers or strings in input.
"""

from __future__ import annotations

import dataclasses
import enum
import functools
import json
import math
import types
import typing
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple, TypeVar

from google.protobuf import duration_pb2, json_format, message_factory, struct_pb2, timestamp_pb2
from google.protobuf.descriptor import FieldDescriptor
from google.protobuf.message import Message

from hotfire.wire_input import Field, WireError, is_repeated, normalise

__all__ = [
    "WireError",
    "dict_to_struct",
    "message_from_dict",
    "message_to_dict",
    "message_to_json",
    "message_to_record",
    "python_to_value",
    "record_to_message",
    "struct_to_dict",
    "value_to_python",
]

M = TypeVar("M", bound=Message)
R = TypeVar("R")

_EXACT = 2**53


# --- Struct and Value -------------------------------------------------------------------------------------


def python_to_value(value: Any) -> struct_pb2.Value:
    """Any JSON-like Python value as a Value."""
    match value:
        case None:
            return struct_pb2.Value(null_value=struct_pb2.NULL_VALUE)
        case bool():
            return struct_pb2.Value(bool_value=value)
        case int():
            if abs(value) > _EXACT:
                return struct_pb2.Value(string_value=str(value))
            return struct_pb2.Value(number_value=value)
        case float():
            if math.isfinite(value):
                return struct_pb2.Value(number_value=value)
            return struct_pb2.Value(string_value=_name_of_non_finite(value))
        case str():
            return struct_pb2.Value(string_value=value)
        case Mapping():
            return struct_pb2.Value(struct_value=dict_to_struct(value))
        case Sequence() | set() | frozenset():
            return struct_pb2.Value(
                list_value=struct_pb2.ListValue(values=[python_to_value(v) for v in value])
            )
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return python_to_value(dataclasses.asdict(value))
    return struct_pb2.Value(string_value=str(value))


def dict_to_struct(mapping: Mapping[str, Any]) -> struct_pb2.Struct:
    """A mapping as a Struct; keys become text."""
    return struct_pb2.Struct(fields={str(k): python_to_value(v) for k, v in mapping.items()})


def value_to_python(value: struct_pb2.Value) -> Any:
    """A Value as Python; integral numbers come back as int."""
    match value.WhichOneof("kind"):
        case "number_value":
            number = value.number_value
            if not math.isfinite(number):  # only a foreign client sends one
                return _name_of_non_finite(number)
            return int(number) if number.is_integer() and abs(number) <= _EXACT else number
        case "string_value":
            return value.string_value
        case "bool_value":
            return value.bool_value
        case "struct_value":
            return struct_to_dict(value.struct_value)
        case "list_value":
            return [value_to_python(v) for v in value.list_value.values]
    return None


def struct_to_dict(struct: struct_pb2.Struct) -> dict[str, Any]:
    """A Struct as a dict; integral numbers come back as int."""
    return {k: value_to_python(v) for k, v in struct.fields.items()}


def _name_of_non_finite(value: float) -> str:
    return "NaN" if math.isnan(value) else "Infinity" if value > 0 else "-Infinity"


# --- Messages and JSON ------------------------------------------------------------------------------------


def message_to_dict(message: Message) -> dict[str, Any]:
    """The JSON form of a message as Python objects."""
    printed = json_format.MessageToDict(
        _without_raw_non_finite(message),
        preserving_proto_field_name=True,
        always_print_fields_with_no_presence=True,
    )
    result: dict[str, Any] = _with_integers(message, printed)
    return result


def _with_integers(message: Message, printed: Any) -> Any:
    """Makes integral numbers of Structs integers; protobuf prints all of them as floats."""
    if isinstance(message, struct_pb2.Struct):
        return struct_to_dict(message)
    if isinstance(message, struct_pb2.Value):
        return value_to_python(message)
    if not isinstance(printed, dict):  # a Timestamp, a Duration
        return printed
    field: Field
    for field, value in message.ListFields():
        if field.message_type is None or field.name not in printed:
            continue
        inner = printed[field.name]
        if _is_map(field):
            if field.message_type.fields_by_name["value"].message_type is not None:
                printed[field.name] = {str(k): _with_integers(v, inner[str(k)]) for k, v in value.items()}
        elif is_repeated(field):
            printed[field.name] = [_with_integers(v, p) for v, p in zip(value, inner, strict=True)]
        else:
            printed[field.name] = _with_integers(value, inner)
    return printed


def message_to_json(message: Message, *, indent: int | None = 2) -> str:
    """The JSON form of a message as text, strictly valid JSON."""
    return json.dumps(message_to_dict(message), indent=indent, ensure_ascii=False, allow_nan=False)


def message_from_dict(mapping: Any, message_class: type[M]) -> M:
    """Reads the JSON form.

    Args:
        mapping: The parsed JSON. Enums with or without their prefix, in any case.
        message_class: What to read it as.

    Raises:
        WireError: With *every* violation: unknown names (and the nearest known one), wrong types, values that
            do not fit.
    """
    violations: list[tuple[str, str]] = []
    clean = normalise(mapping, message_class.DESCRIPTOR, "", violations)
    if violations:
        raise WireError(violations)
    message = message_class()
    try:
        json_format.ParseDict(clean, message)
    except json_format.ParseError as error:
        raise WireError([("", str(error))]) from None
    return message


def _without_raw_non_finite(message: M) -> M:
    """A foreign client may put a raw NaN into a Value, which JSON mapping refuses: make it the string."""
    if not _has_raw_non_finite(message):
        return message
    copy = type(message)()
    copy.CopyFrom(message)
    _mend(copy)
    return copy


def _values_below(message: Message) -> list[struct_pb2.Value]:
    found: list[struct_pb2.Value] = []
    if isinstance(message, struct_pb2.Value):
        found.append(message)
    for field, value in message.ListFields():
        if field.message_type is None:
            continue
        if _is_map(field):
            if field.message_type.fields_by_name["value"].message_type is not None:
                for item in value.values():
                    found += _values_below(item)
        elif is_repeated(field):
            for item in value:
                found += _values_below(item)
        else:
            found += _values_below(value)
    return found


def _has_raw_non_finite(message: Message) -> bool:
    return any(
        v.WhichOneof("kind") == "number_value" and not math.isfinite(v.number_value)
        for v in _values_below(message)
    )


def _mend(message: Message) -> None:
    for value in _values_below(message):
        if value.WhichOneof("kind") == "number_value" and not math.isfinite(value.number_value):
            value.string_value = _name_of_non_finite(value.number_value)


# --- Records and messages ---------------------------------------------------------------------------------


def record_to_message(record: Any, message_class: type[M]) -> M:
    """A plain record as a message, field by field of the same name.

    None stays absent, non-finite numbers stay, a StrEnum gets the wire's prefix, a dict becomes a Struct or a
    map, anything becomes a Value where the message wants one. Fields that the message does not have (what is
    "not on the wire") are left out.

    Args:
        record: A dataclass instance or a mapping.
        message_class: The message with the same field names.
    """
    message = message_class()
    _fill(message, record)
    return message


def _fill(message: Message, record: Any) -> None:
    is_mapping = isinstance(record, Mapping)
    for slot in _layout(message.DESCRIPTOR):
        name = slot.name
        value = record.get(name) if is_mapping else getattr(record, name, None)
        if value is None:
            continue
        field = slot.field
        if slot.value_field is not None:
            target = getattr(message, name)
            for key, item in value.items():
                if slot.value_field.message_type is None:
                    target[key] = item
                else:
                    target[key].CopyFrom(_as_message(slot.value_field, item))
        elif slot.repeated:
            target = getattr(message, name)
            for item in value:
                if slot.of_messages:
                    target.append(_as_message(field, item))
                else:
                    target.append(_scalar(field, item))
        elif slot.of_messages:
            getattr(message, name).CopyFrom(_as_message(field, value))
        else:
            setattr(message, name, _scalar(field, value))


class _Slot(NamedTuple):
    """What `_fill` asks of a field each time."""

    name: str
    field: Field
    value_field: Field | None
    """Of a map."""
    repeated: bool
    of_messages: bool


@functools.cache
def _layout(descriptor: Any) -> tuple[_Slot, ...]:
    return tuple(
        _Slot(
            name,
            field,
            field.message_type.fields_by_name["value"] if _is_map(field) else None,
            is_repeated(field),
            field.message_type is not None,
        )
        for name, field in descriptor.fields_by_name.items()
    )


def _as_message(field: Field, value: Any) -> Message:
    full_name = field.message_type.full_name
    if isinstance(value, Message):
        return value
    if full_name == "google.protobuf.Struct":
        return dict_to_struct(value)
    if full_name == "google.protobuf.Value":
        return python_to_value(value)
    if full_name == "google.protobuf.Duration":
        duration = duration_pb2.Duration()
        duration.FromNanoseconds(round(float(value) * 1e9))
        return duration
    message: Message = message_factory.GetMessageClass(field.message_type)()
    _fill(message, value)
    return message


def _scalar(field: Field, value: Any) -> Any:
    if field.enum_type is not None:
        return enum_number(field.enum_type, value)
    if field.cpp_type in (FieldDescriptor.CPPTYPE_DOUBLE, FieldDescriptor.CPPTYPE_FLOAT):
        return float(value)
    if field.cpp_type == FieldDescriptor.CPPTYPE_STRING:
        return value if isinstance(value, str) else str(value)
    if field.cpp_type == FieldDescriptor.CPPTYPE_BOOL:
        return bool(value)
    return int(value)


def enum_prefix(descriptor: Field) -> str:
    """`TRIAL_OUTCOME_` of the enum TrialOutcome."""
    zero: str = descriptor.values_by_number[0].name
    return zero.removesuffix("UNSPECIFIED")


def enum_number(descriptor: Field, value: Any) -> int:
    """The number of an enum value given as number, full name or name without prefix.

    Raises:
        ValueError: It is not in the enum.
    """
    if isinstance(value, int) and not isinstance(value, bool):
        return value
    return _named_number(descriptor, str(value.value if isinstance(value, enum.Enum) else value))


@functools.cache
def _named_number(descriptor: Field, text: str) -> int:
    for name in (text, enum_prefix(descriptor) + text):
        if name in descriptor.values_by_name:
            return int(descriptor.values_by_name[name].number)
    raise ValueError(f"{text!r} is not a {descriptor.name}")


@functools.cache
def _type_hints(record_class: Any) -> dict[str, Any]:
    return typing.get_type_hints(record_class)


def message_to_record(message: Message, record_class: type[R]) -> R:
    """A message as a plain record, field by field of the same name; absent stays the record's default."""
    hints = _type_hints(record_class)  # type: ignore[arg-type]  # a class is hashable
    values: dict[str, Any] = {}
    for field in dataclasses.fields(record_class):  # type: ignore[arg-type]
        descriptor: Field = message.DESCRIPTOR.fields_by_name.get(field.name)
        if descriptor is None:
            continue
        raw = getattr(message, field.name)
        if _is_map(descriptor):
            item = descriptor.message_type.fields_by_name["value"]
            values[field.name] = {k: _python(item, v, Any) for k, v in raw.items()}
        elif is_repeated(descriptor):
            arguments = typing.get_args(_without_none(hints[field.name]))
            values[field.name] = [_python(descriptor, v, arguments[0] if arguments else Any) for v in raw]
        elif message.HasField(field.name):
            values[field.name] = _python(descriptor, raw, _without_none(hints[field.name]))
        elif field.default is dataclasses.MISSING and field.default_factory is dataclasses.MISSING:
            # Another version may leave out what our record always has.
            values[field.name] = raw if field.type in ("str", str) else None
    return record_class(**values)


def _python(field: Field, value: Any, hint: Any) -> Any:
    if isinstance(value, struct_pb2.Struct):
        return struct_to_dict(value)
    if isinstance(value, struct_pb2.Value):
        return value_to_python(value)
    if isinstance(value, duration_pb2.Duration):
        return value.ToNanoseconds() / 1e9
    if isinstance(value, timestamp_pb2.Timestamp):
        return value.ToJsonString()
    if isinstance(value, Message):
        return message_to_record(value, hint) if isinstance(hint, type) else message_to_dict(value)
    if field.enum_type is not None:
        short = field.enum_type.values_by_number[value].name.removeprefix(enum_prefix(field.enum_type))
        return hint(short) if isinstance(hint, type) and issubclass(hint, enum.Enum) else short
    return value


def _without_none(hint: Any) -> Any:
    if isinstance(hint, types.UnionType) or typing.get_origin(hint) is typing.Union:
        return next(a for a in typing.get_args(hint) if a is not type(None))
    return hint


def _is_map(field: Field) -> bool:
    return field.message_type is not None and bool(field.message_type.GetOptions().map_entry)
