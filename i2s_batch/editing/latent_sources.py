"""Gives the worker that draws images its latents."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from i2s_batch.editing.recipes import Recipe
from i2s_batch.editing.registered import apply_recipe
from i2s_batch.editing.units import EditImage
from i2s_batch.errors import LatentError
from i2s_batch.table.latent_reader import LatentReader


@dataclass(frozen=True)
class LoadedLatents:
    """Holds the latents of some images, float32 [n, L, w_dim], and why some images have none (by index)."""

    latents: np.ndarray
    missing: dict[int, Exception]


class LatentSource(Protocol):
    """Makes the latents of planned images. One thread calls it."""

    def load(self, images: Sequence[EditImage]) -> LoadedLatents:
        """Return the latents of some images, in their order."""


class ParentLatents:
    """Makes latents of their parents' latents, which `tables` hold, by the recipes of the images."""

    def __init__(self, tables: Sequence[str], latent_shape: tuple[int, int]) -> None:
        self._reader, self._shape = LatentReader(tables), latent_shape

    def load(self, images: Sequence[EditImage]) -> LoadedLatents:
        """Read the parents and make the latents, in float64; the table holds them in float32."""
        latents = np.empty((len(images), *self._shape), np.float32)
        missing: dict[int, Exception] = {}
        for index, image in enumerate(images):
            pairs = zip(image.recipe.parents, image.locations, strict=True)
            try:
                parents = [self._reader.read(*pair).reshape(self._shape).astype(np.float64) for pair in pairs]
                latents[index] = _latent_of(image.recipe, parents)
            except (LatentError, FloatingPointError) as error:
                missing[index] = error
        return LoadedLatents(latents, missing)


def _latent_of(recipe: Recipe, parents: list[np.ndarray]) -> np.ndarray:
    """Return the latent of a recipe in float32, as the table holds it.

    Raises:
        FloatingPointError: It is not finite: of too large a strength, or of parents that are not finite.
    """
    with np.errstate(over="ignore", invalid="ignore"):
        latent = np.asarray(apply_recipe(recipe, parents), np.float32)
    if not np.isfinite(latent).all():
        raise FloatingPointError(f"the latent of {recipe.description} is not finite in float32")
    return latent
