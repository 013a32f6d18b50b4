"""Gives the worker that draws images the noise maps of the images that are edited."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property

import numpy as np

from i2s_batch.editing.recipes import Recipe
from i2s_batch.editing.registered import EDITS
from i2s_batch.editing.units import EditImage
from i2s_batch.errors import ConfigError
from i2s_batch.schema.row import Cell, Row
from i2s_batch.table.latent_reader import LatentIndex, LatentLocation
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
        return self.blended(image.recipe, image.locations)

    def blended(self, recipe: Recipe, locations: Sequence[LatentLocation | None]) -> np.ndarray:
        """Return the maps of a recipe whose parents are at `locations`, float32 [size]; errors as `of`."""
        weights = EDITS.get(recipe.operation).resolve().noise_weights(recipe)
        parts = [
            weight * self._reader.read(*pair).astype(np.float32)
            for weight, pair in zip(weights, zip(recipe.parents, locations, strict=True), strict=False)
            if weight
        ]
        return np.asarray(np.sum(parts, axis=0), np.float32)


class NoiseOfEdits:
    """Gives the noise maps of rows of an edit whose tables still exist, to draw their images again."""

    def __init__(self, tables: Sequence[str], size: int) -> None:
        self._tables, self._kept = tables, KeptNoise(tables, size)

    @cached_property
    def _index(self) -> LatentIndex:
        return LatentIndex(self._tables)

    def __call__(self, row: Row) -> np.ndarray:
        """Return the maps that the image of a row was drawn with, float32 [size].

        Raises:
            I2SError: A table, or the maps in it, cannot be read.
        """
        parents = tuple(map(str, list_of(row.extra["parents"])))
        strength = row.extra["strength"]
        recipe = Recipe(str(row.extra["operation"]), parents, strength if isinstance(strength, float) else None)
        return self._kept.blended(recipe, [self._index.location(parent) for parent in parents])


def list_of(cell: Cell) -> list[Cell]:
    """Return the values of a cell that holds a list; none of a null."""
    return cell if isinstance(cell, list) else []
