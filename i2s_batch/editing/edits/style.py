"""Transfers style: crossovers of two latents."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

from i2s_batch.argument_types import check_fields
from i2s_batch.editing.edit_options import (
    EditOptions,
    edit_list_option,
    flag_option,
    image_id_option,
    layers_option,
    listed_edits,
    only_one,
    whole_option,
)
from i2s_batch.editing.formulas import Latents, crossover, style_layers
from i2s_batch.editing.recipes import ImageSequence, Recipe
from i2s_batch.editing.registered import Edit
from i2s_batch.editing.requests import (
    ALL_PAIRS,
    TOWARDS,
    ListedEdit,
    check_listed,
    check_pairing,
    default_pairing,
    towards,
)
from i2s_batch.errors import ConfigError

ROLES = ("content", "style")


@dataclass(frozen=True)
class Style:
    """Asks for crossovers of every ordered pair, or of every image with the style `to`.

    The content keeps its first `keep` layers (half of them if None), or all but `layers`.
    """

    pairing: str | None = None
    to: str | None = None
    keep: int | None = None
    layers: tuple[int, ...] | None = None
    listed: tuple[ListedEdit, ...] | None = None
    operation: str = field(default="style", init=False)

    def __post_init__(self) -> None:
        check_fields(self)
        if self.keep is not None and self.layers is not None:
            raise ConfigError("a style takes either the layers that the content keeps, or those of the style, not both")
        check_listed(self.listed, self.operation, ("layers",))
        object.__setattr__(self, "pairing", default_pairing(self.pairing, self.to))
        check_pairing(self.pairing, self.to, self.listed, (ALL_PAIRS, TOWARDS))

    def sequences(self, chosen: Sequence[str], layers: int) -> Iterator[ImageSequence]:
        """Yield one image each."""
        usual = tuple(style_layers(layers, self.keep)) if self.layers is None else self.layers
        _check_layers(usual, layers)
        if self.listed is not None:
            for edit in self.listed:
                own = usual if edit.layers is None else edit.layers
                _check_layers(own, layers)
                yield ImageSequence((Recipe(self.operation, edit.parents, layers=own),))
            return
        pairs = itertools.permutations(chosen, 2) if self.pairing == ALL_PAIRS else towards(chosen, self.to)
        for pair in pairs:
            yield ImageSequence((Recipe(self.operation, pair, layers=usual),))


def _check_layers(chosen: tuple[int, ...], layers: int) -> None:
    for layer in chosen:
        if not 0 <= layer < layers:
            raise ConfigError(f"layer {layer} is to come from the style; the layers are 0 to {layers - 1}")


def latent(recipe: Recipe, parents: Sequence[Latents]) -> Latents:
    """Return the content's latent with the recipe's `layers` of the style's."""
    return crossover(parents[0], parents[1], layers=recipe.layers or ())


@dataclass(frozen=True)
class StyleOptions(EditOptions):
    """Holds the options of `i2s-batch edit style`."""

    all_pairs: bool = flag_option("Give every image the style of every other.")
    to: str | None = image_id_option("Image whose style every other image is given.")
    edit_list: str | None = edit_list_option(
        "CSV or Parquet file with the crossovers, one per row: columns content, style and, optionally, layers."
    )
    keep: int | None = whole_option(
        "Number of layers that the content keeps, the coarsest first. Default: the first half.", least=0
    )
    layers: tuple[int, ...] | None = layers_option(
        "Layers that come from the style, in place of --keep; 0 is the coarsest. Default: as --keep says."
    )

    def request(self) -> Style:
        """Return the request that the options ask for."""
        listed = listed_edits(self.edit_list, ROLES)
        pairing = only_one({"all-pairs": self.all_pairs, "to": self.to is not None, "edit-list": listed is not None})
        return Style(pairing, self.to, self.keep, self.layers, listed)


STYLE = Edit(ROLES, latent, StyleOptions)
