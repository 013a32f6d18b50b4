"""This module reads and writes our own format, that of `convert`: safetensors (see `safetensors_file`).

Its metadata describe the weights and carry their fingerprint, which is verified when they are read.
"""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np

from i2s_batch.errors import CheckpointError, ConfigError
from i2s_batch.models.checkpoints.checkpoint_file import CheckpointFile, CheckpointFormat, nothing_else
from i2s_batch.models.checkpoints.safetensors_file import WRITTEN, StoredArrays, write_arrays
from i2s_batch.models.checkpoints.stored_arrays import ELEMENTS
from i2s_batch.models.checkpoints.variables import check_total, finite
from i2s_batch.models.network_layout import check_weights
from i2s_batch.models.network_settings import settings_of
from i2s_batch.models.weights import GeneratorWeights, VGGWeights

FORMAT_VERSION = "1"
VGG_FAMILY = "vgg16"
LEARNED_FAMILY = "i2s-batch learned"  # of files that hold no network: `inversion.learned_file`
_LONGEST_ORIGIN = 200


def write_safetensors(weights: GeneratorWeights | VGGWeights, path: str | Path, dtype: str = "float32") -> None:
    """Write weights to `path`, whole or not at all. `dtype` float16 rounds them, fingerprint included.

    What is at `path` already is treated as `files.written_whole` says. Raises ConfigError for another `dtype` or
    values beyond its range, StorageError where `path` cannot be written.
    """
    if dtype not in WRITTEN:
        raise ConfigError(f"dtype is {dtype!r}; it must be one of {', '.join(WRITTEN)}")
    with np.errstate(over="ignore"):
        stored = {name: value.astype(ELEMENTS[dtype]) for name, value in sorted(weights.tensors.items())}
    for name, value in stored.items():
        if not np.isfinite(value).all():
            raise ConfigError(f"the variable {name} has values beyond the range of {dtype}")
    rounded = replace(weights, tensors={name: value.astype(np.float32) for name, value in stored.items()})
    write_arrays(path, stored, _metadata(rounded))


def _metadata(weights: GeneratorWeights | VGGWeights) -> dict[str, str]:
    facts = {"format_version": FORMAT_VERSION, "origin": weights.origin, "fingerprint": weights.fingerprint}
    if isinstance(weights, GeneratorWeights):
        return facts | {"family": weights.family, "settings": json.dumps(weights.settings.to_json(), sort_keys=True)}
    return facts | {"family": VGG_FAMILY, "is_random": json.dumps(weights.is_random)}


def read_converted(stored: StoredArrays) -> GeneratorWeights | VGGWeights:
    """Return the weights in a file that `write_safetensors` wrote; raises CheckpointError unless they are intact."""
    arrays, metadata = stored
    if metadata.get("family") == LEARNED_FAMILY:
        raise CheckpointError("this is a learned file, not a network; give it as --learned")
    if metadata.get("format_version") != FORMAT_VERSION or "family" not in metadata:
        raise CheckpointError("this safetensors file was not written by i2s-batch convert (version 1)")
    check_total(array.count for array in arrays.values())
    tensors = {name: finite(name, array.read()) for name, array in arrays.items()}
    # A line for people, who see it in tables and reports: whatever the file holds, it becomes no more than that.
    origin = "".join(c if c.isprintable() else "?" for c in metadata.get("origin", "")[:_LONGEST_ORIGIN])
    weights: GeneratorWeights | VGGWeights
    if metadata["family"] == VGG_FAMILY:
        weights = VGGWeights(tensors, origin, is_random=metadata.get("is_random") == "true")
    else:
        stored = json.loads(metadata.get("settings", "null"))
        if not isinstance(stored, dict):
            raise CheckpointError("its settings are malformed")
        weights = GeneratorWeights(settings_of(metadata["family"], stored), tensors, origin)
        check_weights(weights)
    if weights.fingerprint != metadata.get("fingerprint"):
        raise CheckpointError("its weights do not agree with the fingerprint in it: the file is damaged")
    return weights


def _read(file: CheckpointFile) -> GeneratorWeights | VGGWeights:
    stored: StoredArrays = file.content()
    return read_converted(stored)


def _family(file: CheckpointFile) -> str | None:
    """Return the family in the metadata of a safetensors file; None where there is none."""
    stored = file.arrays()
    return None if stored is None else stored.metadata.get("family")


GENERATOR_FORMAT = CheckpointFormat(
    lambda file: _family(file) not in (None, VGG_FAMILY, LEARNED_FAMILY), _read, nothing_else
)
VGG_FORMAT = CheckpointFormat(lambda file: _family(file) == VGG_FAMILY, _read, nothing_else)
