"""An edit of another program: everything about it is in this file."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

from i2s_batch.editing import Edit, ImageSequence, ListedEdit, Recipe, morph
from i2s_batch.editing.edit_options import (
    EditOptions,
    edit_list_option,
    flag_option,
    image_id_option,
    layers_option,
    listed_edits,
    number_option,
    prefix_option,
    strengths_option,
    whole_option,
)
from i2s_batch.editing.formulas import Latents

ROLES = ("content", "other")


@dataclass(frozen=True)
class Blend:
    """Asks for every chosen image to come nearer to `other`, at `strengths`, in some layers."""

    other: str
    strengths: tuple[float, ...]
    layers: tuple[int, ...]
    listed: tuple[ListedEdit, ...] | None = None
    operation: str = field(default="blend", init=False)

    def sequences(self, chosen: Sequence[str], layers: int) -> Iterator[ImageSequence]:
        """Yield one sequence over the strengths for each image."""
        for edit in self.listed or tuple(ListedEdit((image_id, self.other)) for image_id in chosen):
            strengths = edit.strengths or self.strengths
            recipes = [Recipe(self.operation, edit.parents, strength, self.layers) for strength in strengths]
            yield ImageSequence(tuple(recipes))


def latent(recipe: Recipe, parents: Sequence[Latents]) -> Latents:
    """Return the content's latent, moved towards the other's in the recipe's layers."""
    content, other = parents
    blended = content + 0
    for layer in recipe.layers or ():
        blended[layer] = morph(other, content, recipe.strength)[layer]
    return blended


@dataclass(frozen=True)
class BlendOptions(EditOptions):
    """Holds the options of `i2s-batch edit blend`: one of every kind."""

    animation = "gif"

    to: str = image_id_option("The image that all others come nearer to.", required=True)
    layers: tuple[int, ...] | None = layers_option("Layers that change; default: the coarsest.")
    coarsest: int = whole_option("How many layers are the coarsest.", default=1, least=1, most=3)
    strengths: tuple[float, ...] = strengths_option("1 is the other image.", default=(0.5, 1.0))
    factor: float = number_option("Multiplies the strengths.", default=1.0)
    back: bool = flag_option("Away from the other image.")
    folder: str | None = prefix_option("Choose the images whose ids begin so.")
    edit_list: str | None = edit_list_option("CSV or Parquet with columns content, other.")

    def request(self) -> Blend:
        """Return the request that the options ask for."""
        factor = -self.factor if self.back else self.factor
        strengths = tuple(strength * factor for strength in self.strengths)
        layers = self.layers or tuple(range(self.coarsest))
        return Blend(self.to, strengths, layers, listed_edits(self.edit_list, ROLES))


BLEND = Edit(ROLES, latent, BlendOptions)
