"""Opens a log, whatever it is: a folder, `.gz`, one JSON document, JSON lines, or text."""

from __future__ import annotations

import gzip
import io
import itertools
import json
import math
import re
import zlib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from hotfire.errors import SettingsError
from hotfire.logs.numbers import entry_of, eval_loss, is_summary
from hotfire.logs.order import in_order
from hotfire.logs.records import JobLog
from hotfire.logs.text import read_lines

_IN_FOLDER = ("trainer_state.json", "trainer_log.jsonl", "logging.jsonl")
_MAX_DOCUMENT_BYTES = 512 * 2**20
_PIECE_BYTES = 2**20
_MAX_LINE = 100_000
_GZIP = b"\x1f\x8b"


def read(path: Path) -> JobLog:
    """Reads a log.

    Args:
        path: A `trainer_state.json`, a file of JSON lines, the text that a job printed (each also `.gz`), or the
            folder that a job wrote to.

    Raises:
        SettingsError: It cannot be read, or nothing in it is the log of a training.
    """
    path = _file(path.expanduser())
    try:
        with _open(path) as file:
            head = file.peek(4096)[:4096]
        if b"\0" in head:
            raise SettingsError(f"{path} is a binary file, not a log")
        log = _document(path, head)
        if log is None:
            with _open(path) as file:
                log = read_lines(_lines(file), name=path.name)
    except (OSError, EOFError, zlib.error) as error:
        why = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
        raise SettingsError(f"cannot read {path}: {why}") from None
    if not (log.entries or log.num_overflows or log.engine or log.error):
        raise SettingsError(
            f"{path}: no line of it is the log of a training. Known are trainer_state.json (log_history), JSON lines "
            "with \"loss\", and the text that the HF Trainer and DeepSpeed print: {'loss': …, 'grad_norm': …, "
            "'learning_rate': …}"
        )
    return log


def _file(path: Path) -> Path:
    if not path.exists():
        raise SettingsError(f"there is no file {path}")
    if not path.is_dir():
        return path
    checkpoints = sorted(
        (p for p in path.glob("checkpoint-*") if p.name.rpartition("-")[2].isdigit()),
        key=lambda p: -int(p.name.rpartition("-")[2]),
    )
    for folder in (path, *checkpoints):
        for name in _IN_FOLDER:
            if (folder / name).is_file():
                return folder / name
    raise SettingsError(f"the folder {path} has none of {', '.join(_IN_FOLDER)}; name the file")


def _open(path: Path) -> io.BufferedReader:
    raw = path.open("rb")
    if raw.peek(2)[:2] == _GZIP:
        raw.close()
        return io.BufferedReader(gzip.open(path, "rb"))
    return raw


def _lines(file: io.BufferedReader) -> Iterator[str]:
    """Lines; a progress bar's carriage returns end a line, too. Bytes that are no UTF-8 are replaced."""
    while raw := file.readline(_MAX_LINE * 10):
        for part in re.split(r"[\r\n]", raw.decode("utf-8", errors="replace").rstrip("\r\n")):
            yield part[:_MAX_LINE]


def _document(path: Path, head: bytes) -> JobLog | None:
    """The log, where the whole file is one JSON document; None where it is lines."""
    start = head.decode("utf-8-sig", errors="replace").lstrip()
    # {'loss': ...} is a printed line, and {"loss": ...} with its end on the same line one of JSON lines.
    if not re.match(r'\[\s*(\{|$)|\{\s*("|$)', start) or _is_record(start.partition("\n")[0]):
        return None
    with _open(path) as file:
        # In pieces: reading so much at once would set as much memory aside.
        pieces = iter(lambda: file.read(_PIECE_BYTES), b"")
        content = b"".join(itertools.islice(pieces, _MAX_DOCUMENT_BYTES // _PIECE_BYTES))
        if file.read(1):
            return None
    try:
        data = json.loads(content.decode("utf-8-sig", errors="replace"))
    except ValueError:
        if re.search(r'"log_history"', start):
            raise SettingsError(f"{path} is a trainer_state.json that breaks off or is damaged") from None
        return None
    history = data.get("log_history") if isinstance(data, Mapping) else data
    if isinstance(data, Mapping) and history is None:
        return None
    if not isinstance(history, list):
        raise SettingsError(f"{path}: log_history must be a list of records")
    return _of_history(path, data if isinstance(data, Mapping) else {}, history)


def _is_record(line: str) -> bool:
    try:
        return "log_history" not in json.loads(line)
    except (ValueError, TypeError):
        return False


def _of_history(path: Path, state: Mapping[str, Any], history: list[Any]) -> JobLog:
    log = JobLog(name=path.name, format="trainer_state")
    for name in ("global_step", "max_steps"):
        value = state.get(name)
        if isinstance(value, int) and not isinstance(value, bool) and value > 0:
            setattr(log, name, value)
    records = [record for record in history if isinstance(record, Mapping)]
    if skipped := len(history) - len(records):
        log.notes.append(f"{skipped} entries of log_history are no records")
    for record in records:
        log.finished = log.finished or is_summary(record)
        value = eval_loss(record)
        log.num_eval_non_finite += value is not None and not math.isfinite(value)
        if (entry := entry_of(record)) is not None:
            log.entries.append(entry)
    log.entries, notes = in_order(log.entries)
    log.notes += notes
    return log
