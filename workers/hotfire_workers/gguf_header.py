"""How many parameters a GGUF file holds, from its header: the worker itself has no gguf library.

Format: https://github.com/ggml-org/ggml/blob/master/docs/gguf.md, versions 2 and 3.
"""

from __future__ import annotations

import math
import struct
from pathlib import Path
from typing import BinaryIO

_STRING, _ARRAY = 8, 9
#: Bytes of the other value types.
_SIZES = {0: 1, 1: 1, 2: 2, 3: 2, 4: 4, 5: 4, 6: 4, 7: 1, 10: 8, 11: 8, 12: 8}
_MAX_COUNT = 1 << 24


def count_parameters(path: Path) -> int | None:
    """Elements of all tensors; None where the file is not a GGUF that can be read."""
    try:
        with path.open("rb") as file:
            magic, version, num_tensors, num_values = struct.unpack("<4sIQQ", file.read(24))
            if magic != b"GGUF" or version not in (2, 3):
                return None
            for _ in range(_checked(num_values)):
                _skip_string(file)
                _skip_value(file, _number(file, "<I"))
            total = 0
            for _ in range(_checked(num_tensors)):
                _skip_string(file)
                shape = struct.unpack(f"<{(rank := _checked(_number(file, '<I')))}Q", file.read(8 * rank))
                total += math.prod(shape)
                file.seek(12, 1)
            return total
    except (OSError, struct.error, ValueError, KeyError):
        return None


def _number(file: BinaryIO, form: str) -> int:
    value: int = struct.unpack(form, file.read(struct.calcsize(form)))[0]
    return value


def _checked(count: int) -> int:
    if count > _MAX_COUNT:
        raise ValueError(f"{count} entries: the header is damaged")
    return count


def _skip_string(file: BinaryIO) -> None:
    file.seek(_checked(_number(file, "<Q")), 1)


def _skip_value(file: BinaryIO, kind: int) -> None:
    if kind == _STRING:
        _skip_string(file)
    elif kind == _ARRAY:
        item, count = _number(file, "<I"), _checked(_number(file, "<Q"))
        if item in _SIZES:
            file.seek(_SIZES[item] * count, 1)
        else:
            for _ in range(count):
                _skip_value(file, item)
    else:
        file.seek(_SIZES[kind], 1)
