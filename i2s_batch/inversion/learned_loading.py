"""Loads learned files by path or URL, and describes them."""

from __future__ import annotations

from pathlib import Path

from i2s_batch.argument_types import path_or_url
from i2s_batch.errors import CheckpointError
from i2s_batch.inversion.learned import Learned
from i2s_batch.inversion.learned_file import read_learned
from i2s_batch.models.checkpoints.converted_file import LEARNED_FAMILY
from i2s_batch.models.checkpoints.opening import SAFETENSORS, known_container, opened
from i2s_batch.models.checkpoints.safetensors_file import read_arrays
from i2s_batch.models.loading import staged


def load_learned(path: str | Path) -> Learned:
    """Return what `i2s-batch learn` wrote: a local path, `s3://` or `https://`.

    Nothing in the file is executed. Raises CheckpointError for another file, or one that is damaged.
    """
    return read_learned(staged(path_or_url("path", path), check=read_learned))


def is_learned_file(path: str | Path) -> bool:
    """Return whether the file at a local path is a learned file, whole or not."""
    try:
        with opened(path) as data:
            return known_container(data) == SAFETENSORS and read_arrays(data).metadata.get("family") == LEARNED_FAMILY
    except CheckpointError:
        return False


def learned_facts(learned: Learned) -> list[tuple[str, str]]:
    """Return what a learned file holds as pairs of a name and a line for people."""
    layers, w_dim, _ = learned.blocks.shape
    weights = ", ".join(f"{name} {value:g}" for name, value in vars(learned.weights).items())
    return [
        ("format", "learned file of i2s-batch, for --learned"),
        ("origin", learned.origin),
        ("layers", f"{layers}, so it belongs to W+ latents [{layers}, {w_dim}]"),
        ("features", f"{len(learned.feature_mean)} of each image, from which the start is predicted"),
        ("loss weights", weights),
        ("generator", learned.generator),
        ("vgg", learned.vgg),
        ("fingerprint", learned.fingerprint),
    ]
