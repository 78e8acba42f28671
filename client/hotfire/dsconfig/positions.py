"""Reading a DeepSpeed config from text: what it says, what is wrong with it, and where every key stands."""

from __future__ import annotations

import importlib
import json
import re
from collections.abc import Iterator
from typing import Any

from hotfire.dsconfig.hjson_reader import HjsonError, LineIndex, Quoteless, Reading, escape, read
from hotfire.rules.evidence import DeepSpeedConfig, ReadProblem

_PLACEHOLDER = re.compile(
    r"\$\{?\w+\}?|\{\{.*\}\}|\{\w+\}|\{%.*%\}|<\s*[A-Za-z][\w .-]*>|%\(\w+\)[sd]"
    r"|@\w+@|__[A-Z]\w*__|\?\?\?|\.\.\."
)
_CONSTANT_NAME = re.compile(r"[A-Z][A-Z0-9]*(_[A-Z0-9]+)*")
_PATH_KEYS = re.compile(r"path|file|dir|project|team|group|workspace|name|comment")


def read_config(text: str) -> DeepSpeedConfig:
    """Reads a config as DeepSpeed would (hjson), and notes where a strict JSON loader would stop.

    Never raises: what is wrong with the text is in `problems`. `given` is None when nothing can read it.
    """
    config = DeepSpeedConfig(text=text)
    lines = LineIndex(text)
    try:
        reading = read(text)
    except HjsonError as error:
        _not_readable(config, text, lines, error)
        return config
    config.positions = {pointer: lines.position(offset) for pointer, offset in reading.offsets.items()}
    config.problems = [*_placeholders(reading, lines), *_duplicates(reading, lines)]
    if not isinstance(reading.value, dict):
        kind = type(reading.value).__name__
        message = f"a DeepSpeed config is an object of keys and values; this text is a {kind}"
        config.problems.append(ReadProblem(kind="not-an-object", message=message, line=1, column=1))
        return config
    if any(
        p.kind == "placeholder" for p in config.problems if p.path is None or _is_quoteless(reading, p.path)
    ):
        return config
    config.given = reading.value
    if problem := _not_json(text, reading, lines):
        config.problems.append(problem)
    return config


def from_mapping(config: dict[str, Any]) -> DeepSpeedConfig:
    """The same for a config that never was text: its text is then canonical JSON, two spaces deep."""
    return read_config(json.dumps(config, indent=2, ensure_ascii=False, default=str))


def _not_readable(config: DeepSpeedConfig, text: str, lines: LineIndex, error: HjsonError) -> None:
    line, column = lines.position(error.offset)
    if template := _template_line(text):
        offset, token = template
        line, column = lines.position(offset)
        message = f"{token} is a placeholder: this is a template, not a config"
        config.problems.append(ReadProblem(kind="placeholder", message=message, line=line, column=column))
        return
    if found := list(_quoteless_placeholders(error.quoteless, lines)):
        config.problems += found
        return
    if text.strip() and (value := _read_with_hjson(text)) is not None:
        # The package accepts something that this reader does not: trust it, without positions.
        config.given = value
        message = "only the hjson package can read this text; a strict JSON loader cannot"
        config.problems.append(ReadProblem(kind="hjson-only", message=message, line=line, column=column))
        return
    message = str(error)
    if error.quoteless:
        first = error.quoteless[0]
        line, column = lines.position(first.offset)
        message = (
            f"{first.text.split(',')[0]!r} has no quotes, so that all text up to the end of the line is its value "
            f"({message})"
        )
    config.problems.append(ReadProblem(kind="syntax", message=message, line=line, column=column))


def _read_with_hjson(text: str) -> dict[str, Any] | None:
    try:
        module = importlib.import_module("hjson")
        value = module.loads(text, object_pairs_hook=dict)
    except (ImportError, ValueError, IndexError, RecursionError):
        return None
    return value if isinstance(value, dict) else None


def _template_line(text: str) -> tuple[int, str] | None:
    """First `{{ x }}` or `{% x %}` in a text that cannot be read: a template language, not a typing error."""
    match = re.search(r"\{\{\s*\w[^{}\n]*\}\}|\{%[^%\n]*%\}|<[A-Z][A-Z0-9_ ]+>", text)
    return (match.start(), match.group()) if match else None


def _is_quoteless(reading: Reading, path: str) -> bool:
    return any(path == "/deepspeed" + q.pointer for q in reading.quoteless)


def _placeholders(reading: Reading, lines: LineIndex) -> Iterator[ReadProblem]:
    yield from _quoteless_placeholders(reading.quoteless, lines)
    quoteless_pointers = {q.pointer for q in reading.quoteless}
    for pointer, text in _strings(reading.value, ""):
        if pointer in quoteless_pointers or _PATH_KEYS.search(pointer.rpartition("/")[2]):
            continue
        if _PLACEHOLDER.fullmatch(text.strip()):
            yield _placeholder(pointer, text, lines.position(reading.offsets.get(pointer, 0)))


def _quoteless_placeholders(found: list[Quoteless], lines: LineIndex) -> Iterator[ReadProblem]:
    for quoteless in found:
        token = quoteless.text.split(",")[0].strip()
        if "{" not in token:
            token = token.rstrip("}] ")  # the braces that close what the text stands in
        if _PLACEHOLDER.fullmatch(token) or _CONSTANT_NAME.fullmatch(token):
            yield _placeholder(quoteless.pointer, token, lines.position(quoteless.offset))


def _placeholder(pointer: str, token: str, at: tuple[int, int]) -> ReadProblem:
    message = f"{token} is a placeholder: this is a template, not a config"
    return ReadProblem(
        kind="placeholder", message=message, line=at[0], column=at[1], path="/deepspeed" + pointer
    )


def _strings(value: Any, pointer: str) -> Iterator[tuple[str, str]]:
    if isinstance(value, str):
        yield pointer, value
    elif isinstance(value, dict):
        for key, item in value.items():
            if not key.startswith("_"):
                yield from _strings(item, f"{pointer}/{escape(key)}")
    elif isinstance(value, list):
        for index, item in enumerate(value):
            yield from _strings(item, f"{pointer}/{index}")


def _duplicates(reading: Reading, lines: LineIndex) -> Iterator[ReadProblem]:
    for duplicate in reading.duplicates:
        line, column = lines.position(duplicate.offset)
        first = lines.position(duplicate.first_offset)[0]
        name = duplicate.pointer.rpartition("/")[2].replace("~1", "/").replace("~0", "~")
        message = f"the key {name!r} is given twice, in lines {first} and {line}"
        yield ReadProblem(
            kind="duplicate-key",
            message=message,
            line=line,
            column=column,
            path="/deepspeed" + duplicate.pointer,
        )


def _not_json(text: str, reading: Reading, lines: LineIndex) -> ReadProblem | None:
    try:
        json.loads(text)
    except (ValueError, RecursionError) as error:
        offset = error.pos if isinstance(error, json.JSONDecodeError) else 0
        what = "this"
        if reading.not_json is not None:
            offset, what = reading.not_json
        line, column = lines.position(offset)
        message = f"{what} is Hjson, which DeepSpeed reads and a strict JSON loader refuses"
        if swallowed := next((q.text for q in reading.quoteless if q.text.endswith(",")), None):
            message += f"; without quotes the value is the text {swallowed!r}, with the comma"
        return ReadProblem(kind="hjson-only", message=message, line=line, column=column)
    return None
