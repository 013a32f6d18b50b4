"""Gives the worker that draws images the noise maps of the images that are edited."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from i2s_batch.editing.registered import EDITS
from i2s_batch.editing.units import EditImage
from i2s_batch.errors import ConfigError
from i2s_batch.table.noise_reader import NoiseReader, has_noise


def check_noise(tables: Sequence[str]) -> None:
    """Raise ConfigError for the first of the tables that was made without noise maps."""
    for table in tables:
        if not has_noise(table):
            raise ConfigError(
                f"{table} has no noise maps; embed with --noise-steps to have some, or draw with the stored noise"
            )


class KeptNoise:
    """Blends the noise maps of an image's parents, which `tables` hold, by the weights of its edit. For one thread."""

    def __init__(self, tables: Sequence[str], size: int) -> None:
        self._reader = NoiseReader(tables, size)

    def of(self, image: EditImage) -> np.ndarray:
        """Return the maps of an image to draw, float32 [size].

        Raises:
            LatentError: A parent has none.
        """
        weights = EDITS.get(image.recipe.operation).resolve().noise_weights(image.recipe)
        pairs = zip(image.recipe.parents, image.locations, strict=True)
        parts = [
            weight * self._reader.read(*pair).astype(np.float32)
            for weight, pair in zip(weights, pairs, strict=False)
            if weight
        ]
        total: np.ndarray = np.sum(parts, axis=0, dtype=np.float32)
        return total
