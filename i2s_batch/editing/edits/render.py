"""Renders latents as they are."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

from i2s_batch.editing.edit_options import EditOptions
from i2s_batch.editing.formulas import Latents
from i2s_batch.editing.recipes import ImageSequence, Recipe
from i2s_batch.editing.registered import Edit


@dataclass(frozen=True)
class Render:
    """Asks for the chosen images as the generator draws them."""

    operation: str = field(default="render", init=False)
    listed: None = field(default=None, init=False)

    def sequences(self, chosen: Sequence[str], layers: int) -> Iterator[ImageSequence]:
        """Yield one image each."""
        return (ImageSequence((Recipe(self.operation, (image_id,)),)) for image_id in chosen)


def latent(recipe: Recipe, parents: Sequence[Latents]) -> Latents:
    """Return the latent of the one parent."""
    return parents[0]


@dataclass(frozen=True)
class RenderOptions(EditOptions):
    """Holds the options of `i2s-batch render`: it has none of its own."""

    reproduces = True

    def request(self) -> Render:
        """Return the request that the options ask for."""
        return Render()


RENDER = Edit(("content",), latent, RenderOptions)
