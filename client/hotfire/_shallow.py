"""Safetensors files with only the first layers in them: what `num_layers` makes of an upload.

The format (https://huggingface.co/docs/safetensors): 8 bytes little-endian length of the header, the header
as JSON {name: {dtype, shape, data_offsets}}, then the data. So a shallow copy needs no library and no memory.
"""

from __future__ import annotations

import json
import re
import struct
from collections.abc import Iterator
from pathlib import Path
from typing import Any

_LAYER = re.compile(r"(?:^|\.)(?:layers|layer|h|blocks)\.(\d+)\.")
_MAX_HEADER_BYTES = 100_000_000


def keeps(tensor: str, num_layers: int) -> bool:
    """Whether a tensor belongs to the first `num_layers` layers, or to none."""
    match = _LAYER.search(tensor)
    return match is None or int(match[1]) < num_layers


class ShallowFile:
    """One safetensors file without the layers from `num_layers` on.

    Raises:
        ValueError: The file is not in the safetensors format.
    """

    def __init__(self, path: Path, num_layers: int) -> None:
        self._path = path
        with path.open("rb") as file:
            (length,) = struct.unpack("<Q", file.read(8).ljust(8, b"\xff"))
            if length > _MAX_HEADER_BYTES:
                raise ValueError(f"{path} is not a safetensors file")
            header: dict[str, Any] = json.loads(file.read(length))
        self._data_start = 8 + length
        kept: dict[str, Any] = {}
        self._ranges: list[tuple[int, int]] = []
        end = 0
        tensors = [(n, t) for n, t in header.items() if n != "__metadata__" and keeps(n, num_layers)]
        for name, tensor in sorted(tensors, key=lambda item: item[1]["data_offsets"]):
            begin, stop = tensor["data_offsets"]
            kept[name] = tensor | {"data_offsets": [end, end + stop - begin]}
            self._ranges.append((begin, stop))
            end += stop - begin
        if "__metadata__" in header:
            kept["__metadata__"] = header["__metadata__"]
        text = json.dumps(kept, separators=(",", ":")).encode()
        text += b" " * (-len(text) % 8)
        self._head = struct.pack("<Q", len(text)) + text
        self.size_bytes = len(self._head) + end

    def chunks(self, chunk_bytes: int) -> Iterator[bytes]:
        """The file's bytes."""
        yield self._head
        with self._path.open("rb") as file:
            for begin, stop in self._ranges:
                file.seek(self._data_start + begin)
                left = stop - begin
                while left:
                    chunk = file.read(min(left, chunk_bytes))
                    if not chunk:
                        raise ValueError(f"{self._path} ends before its tensors do")
                    left -= len(chunk)
                    yield chunk


def shallow_index(text: str, num_layers: int) -> str:
    """A `model.safetensors.index.json` without the layers left out."""
    index = json.loads(text)
    index["weight_map"] = {n: f for n, f in index["weight_map"].items() if keeps(n, num_layers)}
    return json.dumps(index, indent=2)
