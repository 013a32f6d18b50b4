"""Morphs along straight lines between two latents."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

from i2s_batch.argument_types import check_fields
from i2s_batch.config import MOST_STRENGTHS
from i2s_batch.editing.edit_options import (
    EditOptions,
    edit_list_option,
    flag_option,
    image_id_option,
    listed_edits,
    only_one,
    strengths_option,
    whole_option,
)
from i2s_batch.editing.formulas import Latents, morph
from i2s_batch.editing.recipes import ImageSequence, Recipe
from i2s_batch.editing.registered import Edit
from i2s_batch.editing.requests import (
    ALL_PAIRS,
    CHAIN,
    TOWARDS,
    ListedEdit,
    as_numbers,
    check_frames,
    check_listed,
    check_numbers,
    check_pairing,
    default_pairing,
    evenly,
    towards,
)

ROLES = ("from", "to")
FRAMES = 9


@dataclass(frozen=True)
class Morph:
    """Asks for morphs at `strengths` (0 is the first image, 1 the second).

    Attributes:
        strengths: One image each; by default nine, evenly from 0 to 1.
        pairing: "all-pairs", "chain" (through the chosen images in their order), or "to", which `to` implies.
        to: The id of the image that every chosen one becomes.
        listed: Rows of an edit list, instead of a pairing.
    """

    strengths: tuple[float, ...] = evenly(FRAMES)
    pairing: str | None = None
    to: str | None = None
    listed: tuple[ListedEdit, ...] | None = None
    operation: str = field(default="morph", init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "strengths", as_numbers(self.strengths))
        check_fields(self)
        object.__setattr__(self, "pairing", default_pairing(self.pairing, self.to))
        check_numbers("strengths", self.strengths)
        check_listed(self.listed, self.operation, ("strengths",))
        check_pairing(self.pairing, self.to, self.listed, (ALL_PAIRS, CHAIN, TOWARDS))

    def sequences(self, chosen: Sequence[str], layers: int) -> Iterator[ImageSequence]:
        """Yield one sequence a pair; a chain is one sequence, in which every image comes once."""
        if self.listed is not None:
            for edit in self.listed:
                yield ImageSequence(tuple(self._frames(edit.parents, edit.strengths or self.strengths)))
        elif self.pairing == CHAIN:
            links = list(itertools.pairwise(chosen))
            check_frames(len(links) * len(self.strengths))
            frames = [frame for link in links[:1] for frame in self._frames(link, self.strengths)]
            for link in links[1:]:
                frames += self._frames(link, tuple(a for a in self.strengths if a != 0))
            if frames:
                yield ImageSequence(tuple(frames))
        else:
            pairs = itertools.combinations(chosen, 2) if self.pairing == ALL_PAIRS else towards(chosen, self.to)
            for pair in pairs:
                yield ImageSequence(tuple(self._frames(pair, self.strengths)))

    def _frames(self, pair: tuple[str, ...], strengths: tuple[float, ...]) -> Iterator[Recipe]:
        return (Recipe(self.operation, pair, strength) for strength in strengths)


def latent(recipe: Recipe, parents: Sequence[Latents]) -> Latents:
    """Return the latent at `strength` of the way from the first parent to the second."""
    return morph(parents[1], parents[0], recipe.strength)


def noise_weights(recipe: Recipe) -> Sequence[float]:
    """Return how much of each parent's noise maps an image gets: as much as of its latent."""
    strength = recipe.strength or 0.0
    return (1.0 - strength, strength)


@dataclass(frozen=True)
class MorphOptions(EditOptions):
    """Holds the options of `i2s-batch edit morph`."""

    animation = "none"

    all_pairs: bool = flag_option("Morph between every two images.")
    chain: bool = flag_option("Morph from each image to the next, as one sequence.")
    to: str | None = image_id_option("Image that every other image is morphed to.")
    edit_list: str | None = edit_list_option(
        "CSV or Parquet file with the morphs, one per row: columns from, to and, optionally, strengths."
    )
    frames: int = whole_option(
        "Frames per morph, with strengths evenly from 0 to 1.", default=9, least=2, most=MOST_STRENGTHS
    )
    strengths: tuple[float, ...] | None = strengths_option(
        "Strengths of the frames in place of --frames: 0 is the first image, 1 the second. Default: as --frames says.",
        replaces="frames",
    )

    def request(self) -> Morph:
        """Return the request that the options ask for."""
        listed = listed_edits(self.edit_list, ROLES)
        given = {"all-pairs": self.all_pairs, "chain": self.chain, "to": self.to is not None}
        pairing = only_one(given | {"edit-list": listed is not None})
        return Morph(self.strengths or evenly(self.frames), pairing, self.to, listed)


MORPH = Edit(ROLES, latent, MorphOptions, noise_weights)
