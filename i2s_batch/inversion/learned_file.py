"""Reads and writes learned files: safetensors, with the fingerprints of what they belong to in the metadata."""

from __future__ import annotations

import json
from dataclasses import asdict, replace
from pathlib import Path

import numpy as np
import torch

from i2s_batch.config import TERMS, LossWeights
from i2s_batch.errors import CheckpointError, ConfigError
from i2s_batch.inversion.learned import Learned
from i2s_batch.models.checkpoints.converted_file import LEARNED_FAMILY
from i2s_batch.models.checkpoints.opening import SAFETENSORS, foreign, known_container, opened
from i2s_batch.models.checkpoints.safetensors_file import StoredArrays, read_arrays, write_arrays
from i2s_batch.models.checkpoints.variables import finite
from i2s_batch.models.weights import sha256_of

FORMAT_VERSION = "1"
FAMILY = LEARNED_FAMILY
_WANTED = "a file that `i2s-batch learn` wrote"
_ARRAYS = ("blocks", "covariance", "feature_mean", "feature_scale", "coefficients", "start_mean")
_LONGEST_ORIGIN = 500


def write_learned(learned: Learned, path: str | Path) -> Learned:
    """Write `learned` to `path`, whole or not at all; return it with its fingerprint."""
    arrays = {name: getattr(learned, name).numpy().astype(np.float32) for name in _ARRAYS}
    facts = _facts(learned)
    fingerprint = sha256_of([facts], arrays)
    metadata = facts | {"format_version": FORMAT_VERSION, "origin": learned.origin, "fingerprint": fingerprint}
    write_arrays(path, arrays, metadata)
    return replace(learned, fingerprint=fingerprint)


def read_learned(path: str | Path) -> Learned:
    """Return what is in a learned file.

    Raises:
        CheckpointError: The file cannot be read, is another or is damaged; one line that names it.
    """
    with opened(path) as data:
        if known_container(data) != SAFETENSORS:
            raise foreign(data, _WANTED)
        return _learned(read_arrays(data))


def _facts(learned: Learned) -> dict[str, str]:
    weights = json.dumps(asdict(learned.weights))
    facts = {"family": FAMILY, "generator": learned.generator, "vgg": learned.vgg, "loss_weights": weights}
    return facts | {"samples": str(learned.samples)}


def _learned(stored: StoredArrays) -> Learned:
    arrays, metadata = stored
    if metadata.get("family") != FAMILY:
        raise CheckpointError(f"this safetensors file is not {_WANTED}; make one with `i2s-batch learn`")
    if metadata.get("format_version") != FORMAT_VERSION:
        version = metadata.get("format_version", "none")[:20]
        raise CheckpointError(f"it has the format version {version}; this version of i2s-batch reads {FORMAT_VERSION}")
    if missing := [name for name in _ARRAYS if name not in arrays]:
        raise CheckpointError(f"its array {missing[0]} is missing")
    values = {name: finite(name, arrays[name].read()) for name in _ARRAYS}
    _check_shapes(values)
    tensors = {name: torch.from_numpy(value.copy()) for name, value in values.items()}
    learned = Learned(
        generator=metadata["generator"],
        vgg=metadata["vgg"],
        weights=_weights(metadata["loss_weights"]),
        blocks=tensors["blocks"],
        covariance=tensors["covariance"],
        feature_mean=tensors["feature_mean"],
        feature_scale=tensors["feature_scale"],
        coefficients=tensors["coefficients"],
        start_mean=tensors["start_mean"],
        samples=int(metadata["samples"]),
        origin="".join(c if c.isprintable() else "?" for c in metadata.get("origin", "")[:_LONGEST_ORIGIN]),
    )
    fingerprint = sha256_of([_facts(learned)], values)
    if fingerprint != metadata.get("fingerprint"):
        raise CheckpointError("its arrays do not agree with the fingerprint in it: the file is damaged")
    return replace(learned, fingerprint=fingerprint)


def _weights(text: str) -> LossWeights:
    given = json.loads(text)
    if not isinstance(given, dict) or set(given) != set(TERMS):
        raise CheckpointError("its loss weights are malformed")
    try:
        return LossWeights(**given)
    except ConfigError as error:
        raise CheckpointError(f"its loss weights are malformed: {error}") from error


def _check_shapes(values: dict[str, np.ndarray]) -> None:
    """Raise CheckpointError unless the shapes go together."""
    layers, w_dim = values["blocks"].shape[0], values["covariance"].shape[0]
    count = values["feature_mean"].shape[0]
    wanted = {
        "blocks": (layers, w_dim, w_dim),
        "covariance": (w_dim, w_dim),
        "feature_mean": (count,),
        "feature_scale": (count,),
        "coefficients": (count, w_dim),
        "start_mean": (w_dim,),
    }
    for name, shape in wanted.items():
        if values[name].shape != shape:
            raise CheckpointError(f"its array {name} has the shape {list(values[name].shape)}; expected {list(shape)}")
