"""The safetensors format, written here so that the engine needs only torch and numpy.

Layout: 8 bytes, little-endian length of the header; the header, JSON; the data. The header maps each name to its
`dtype`, `shape` and `data_offsets` [begin, end] from the end of the header, and `__metadata__` to texts. Ours say
what the weights are and carry their fingerprint, which is verified when they are read.
"""

from __future__ import annotations

import json
import struct
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from i2s_batch.errors import CheckpointError, ConfigError
from i2s_batch.models.checkpoints.arrays import ELEMENTS, StoredArray, contiguous
from i2s_batch.models.checkpoints.variables import check_total, finite
from i2s_batch.models.layout import check_weights
from i2s_batch.models.weights import GeneratorWeights, VGGWeights
from i2s_batch.storage.files import written_whole

FORMAT_VERSION = "1"
VGG_FAMILY = "vgg16"
_CODES = {"F16": "float16", "BF16": "bfloat16", "F32": "float32", "F64": "float64"}
_WRITTEN = {"float32": "F32", "float16": "F16"}
_LONGEST_HEADER = 4 << 20
_LONGEST_ORIGIN = 200
_METADATA = "__metadata__"


def write_safetensors(weights: GeneratorWeights | VGGWeights, path: str | Path, dtype: str = "float32") -> None:
    """Write weights to `path`, whole or not at all. `dtype` float16 rounds them, fingerprint included.

    What is at `path` already is treated as `files.written_whole` says. Raises ConfigError for another `dtype` or
    values beyond its range, StorageError where `path` cannot be written.
    """
    if dtype not in _WRITTEN:
        raise ConfigError(f"dtype is {dtype!r}; it must be one of {', '.join(_WRITTEN)}")
    with np.errstate(over="ignore"):
        stored = {name: value.astype(ELEMENTS[dtype]) for name, value in sorted(weights.tensors.items())}
    for name, value in stored.items():
        if not np.isfinite(value).all():
            raise ConfigError(f"the variable {name} has values beyond the range of {dtype}")
    rounded = replace(weights, tensors={name: value.astype(np.float32) for name, value in stored.items()})
    header: dict[str, Any] = {_METADATA: _metadata(rounded)}
    offset = 0
    for name, value in stored.items():
        end = offset + value.nbytes
        header[name] = {"dtype": _WRITTEN[dtype], "shape": list(value.shape), "data_offsets": [offset, end]}
        offset = end
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    with written_whole(Path(path)) as file:
        file.writelines([struct.pack("<Q", len(text)), text])
        file.writelines(value.tobytes() for value in stored.values())


def _metadata(weights: GeneratorWeights | VGGWeights) -> dict[str, str]:
    facts = {"format_version": FORMAT_VERSION, "origin": weights.origin, "fingerprint": weights.fingerprint}
    if isinstance(weights, GeneratorWeights):
        return facts | {"family": weights.family, "settings": json.dumps(weights.settings, sort_keys=True)}
    return facts | {"family": VGG_FAMILY, "is_random": json.dumps(weights.is_random)}


def read_safetensors(data: memoryview) -> GeneratorWeights | VGGWeights:
    """The weights in a file that `write_safetensors` wrote; raises CheckpointError unless they are intact."""
    arrays, metadata = read_arrays(data)
    if metadata.get("format_version") != FORMAT_VERSION or "family" not in metadata:
        raise CheckpointError("this safetensors file was not written by i2s-batch convert (version 1)")
    check_total(array.count for array in arrays.values())
    tensors = {name: finite(name, array.read()) for name, array in arrays.items()}
    # A line for people, who see it in tables and reports: whatever the file says, no more than that.
    origin = "".join(c if c.isprintable() else "?" for c in metadata.get("origin", "")[:_LONGEST_ORIGIN])
    weights: GeneratorWeights | VGGWeights
    if metadata["family"] == VGG_FAMILY:
        weights = VGGWeights(tensors, origin, is_random=metadata.get("is_random") == "true")
    else:
        settings = json.loads(metadata.get("settings", "null"))
        if not isinstance(settings, dict):
            raise CheckpointError("its settings are malformed")
        weights = GeneratorWeights(metadata["family"], settings, tensors, origin)
        check_weights(weights)
    if weights.fingerprint != metadata.get("fingerprint"):
        raise CheckpointError("its weights do not agree with the fingerprint in it: the file is damaged")
    return weights


def read_arrays(data: memoryview) -> tuple[dict[str, StoredArray], dict[str, str]]:
    """Every array of a safetensors file, unread, and the metadata. Header and offsets are checked first."""
    length = int.from_bytes(data[:8], "little")
    if length > min(_LONGEST_HEADER, len(data) - 8):
        raise CheckpointError(f"a safetensors header of {length} bytes is claimed; refused")
    header = json.loads(bytes(data[8 : 8 + length]).decode())
    metadata = header.pop(_METADATA, {}) if isinstance(header, dict) else None
    if not isinstance(metadata, dict) or not all(isinstance(value, str) for value in metadata.values()):
        raise CheckpointError("its safetensors header is malformed")
    body = data[8 + length :]
    return dict(_arrays(header, body)), metadata


def _arrays(header: Mapping[str, Any], body: memoryview) -> Iterator[tuple[str, StoredArray]]:
    covered = 0
    for name, entry in sorted(header.items(), key=lambda item: _begin(item[1])):
        match entry:
            case {"dtype": str() as code, "shape": list() as shape, "data_offsets": [int() as begin, int() as end]}:
                pass
            case _:
                raise CheckpointError(f"the entry {name[:80]} of its header is malformed")
        # Without holes or overlaps the data cannot be larger than the file.
        if begin != covered or not begin <= end <= len(body) or code not in _CODES:
            raise CheckpointError(f"the entry {name[:80]} of its header has a wrong type or wrong offsets")
        covered = end
        yield name, contiguous(body[begin:end], _CODES[code], tuple(shape))
    if covered != len(body):
        raise CheckpointError(f"its header describes {covered} bytes, {len(body)} are there")


def _begin(entry: Any) -> tuple[int, int]:
    match entry:
        case {"data_offsets": [int() as begin, int() as end]}:
            return begin, end
    raise CheckpointError("its safetensors header is malformed")
