"""Defines the units of an edit: what a worker needs to know of the images that it renders."""

from __future__ import annotations

from dataclasses import dataclass

from i2s_batch.editing.recipes import Recipe
from i2s_batch.output.units import Unit
from i2s_batch.table.latent_reader import LatentLocation


@dataclass(frozen=True)
class EditImage:
    """Describes one image to render.

    Attributes:
        image_id: Its id.
        uri: Where it is written.
        file: The same as a key under the output.
        recipe: How it is made.
        locations: Where the latents of its parents are; None for a parent that no table holds.
        seed: What its latent is drawn from, if it has no parents.
    """

    image_id: str
    uri: str
    file: str
    recipe: Recipe
    locations: tuple[LatentLocation | None, ...]
    seed: int | None = None


@dataclass(frozen=True, kw_only=True)
class EditUnit(Unit):
    """Holds some neighbouring images to render."""

    images: tuple[EditImage, ...]
