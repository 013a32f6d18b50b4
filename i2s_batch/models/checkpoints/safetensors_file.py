"""This module reads and writes the safetensors container, so that the engine needs only torch and numpy.

Layout: 8 bytes, little-endian length of the header; the header, JSON; the data. The header maps each name to its
`dtype`, `shape` and `data_offsets` [begin, end] from the end of the header, and `__metadata__` to texts.
"""

from __future__ import annotations

import json
import struct
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import NamedTuple

import numpy as np

from i2s_batch.config import Json
from i2s_batch.errors import CheckpointError
from i2s_batch.models.checkpoints.stored_arrays import StoredArray, contiguous
from i2s_batch.storage.files import written_whole

METADATA = "__metadata__"
_CODES = {"F16": "float16", "BF16": "bfloat16", "F32": "float32", "F64": "float64"}
# The types that are written, by NumPy's names.
WRITTEN = {"float32": "F32", "float16": "F16"}
# Counters and the like, which lie beside weights and are not read.
_WHOLE_NUMBERS = frozenset({"BOOL", "U8", "I8", "U16", "I16", "U32", "I32", "U64", "I64"})
_LONGEST_HEADER = 4 << 20


class StoredArrays(NamedTuple):
    """Holds every array of numbers with fractions of a safetensors file by name, unread, and its metadata."""

    arrays: dict[str, StoredArray]
    metadata: dict[str, str]


def read_arrays(data: memoryview) -> StoredArrays:
    """Return the arrays of a safetensors file. Header and offsets are checked first."""
    length = int.from_bytes(data[:8], "little")
    if length > min(_LONGEST_HEADER, len(data) - 8):
        raise CheckpointError(f"a safetensors header of {length} bytes is claimed; refused")
    header = json.loads(bytes(data[8 : 8 + length]).decode())
    metadata = header.pop(METADATA, {}) if isinstance(header, dict) else None
    if not isinstance(metadata, dict) or not all(isinstance(value, str) for value in metadata.values()):
        raise CheckpointError("its safetensors header is malformed")
    body = data[8 + length :]
    return StoredArrays(dict(_arrays(header, body)), metadata)


def _arrays(header: Mapping[str, Json], body: memoryview) -> Iterator[tuple[str, StoredArray]]:
    covered = 0
    for name, entry in sorted(header.items(), key=lambda item: _begin(item[1])):
        match entry:
            case {"dtype": str() as code, "shape": list() as shape, "data_offsets": [int() as begin, int() as end]}:
                pass
            case _:
                raise CheckpointError(f"the entry {name[:80]} of its header is malformed")
        # Without holes or overlaps the data cannot be larger than the file.
        if begin != covered or not begin <= end <= len(body) or code not in (*_CODES, *_WHOLE_NUMBERS):
            raise CheckpointError(f"the entry {name[:80]} of its header has a wrong type or wrong offsets")
        covered = end
        if code in _CODES:
            yield name, contiguous(body[begin:end], _CODES[code], tuple(shape))
    if covered != len(body):
        raise CheckpointError(f"its header describes {covered} bytes, {len(body)} are there")


def _begin(entry: Json) -> tuple[int, int]:
    match entry:
        case {"data_offsets": [int() as begin, int() as end]}:
            return begin, end
    raise CheckpointError("its safetensors header is malformed")


def write_arrays(path: str | Path, arrays: Mapping[str, np.ndarray], metadata: Mapping[str, str]) -> None:
    """Write arrays of a type in `WRITTEN`, and metadata, to `path`, whole or not at all (`files.written_whole`)."""
    header: dict[str, Json] = {METADATA: dict(metadata)}
    offset = 0
    for name, value in arrays.items():
        end = offset + value.nbytes
        code = WRITTEN[str(value.dtype)]
        header[name] = {"dtype": code, "shape": list(value.shape), "data_offsets": [offset, end]}
        offset = end
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    with written_whole(Path(path)) as file:
        file.writelines([struct.pack("<Q", len(text)), text])
        file.writelines(value.tobytes() for value in arrays.values())
