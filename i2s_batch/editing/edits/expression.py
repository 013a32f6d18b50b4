"""Transfers an expression: the difference between two images of a face is added to other images."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

from i2s_batch.argument_types import check_fields
from i2s_batch.editing.edit_options import (
    EditOptions,
    edit_list_option,
    flag_option,
    image_id_option,
    listed_edits,
    number_option,
    strengths_option,
)
from i2s_batch.editing.formulas import NORM_THRESHOLD, Latents, add_direction, expression_direction
from i2s_batch.editing.recipes import ImageSequence, Recipe
from i2s_batch.editing.registered import Edit
from i2s_batch.editing.requests import ListedEdit, as_numbers, check_listed, check_numbers, check_threshold
from i2s_batch.errors import ConfigError

ROLES = ("content", "neutral", "expressive")


@dataclass(frozen=True)
class Expression:
    """Asks for the change from `neutral` to `expressive`, at `strengths`, in every chosen image."""

    strengths: tuple[float, ...] = (1.0,)
    neutral: str | None = None
    expressive: str | None = None
    threshold: float = NORM_THRESHOLD
    normalise: bool = False
    listed: tuple[ListedEdit, ...] | None = None
    operation: str = field(default="expression", init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "strengths", as_numbers(self.strengths))
        check_fields(self)
        check_numbers("strengths", self.strengths)
        check_listed(self.listed, self.operation, ("strengths",))
        check_threshold(self.threshold)
        given = [each is not None for each in (self.neutral, self.expressive)]
        if any(given) if self.listed is not None else not all(given):
            raise ConfigError("an expression needs either the neutral and the expressive image, or an edit list")

    def sequences(self, chosen: Sequence[str], layers: int) -> Iterator[ImageSequence]:
        """Yield one sequence over the strengths for each image."""
        listed = self.listed
        if listed is None:
            source = (self.neutral or "", self.expressive or "")
            listed = tuple(ListedEdit((image_id, *source)) for image_id in chosen)
        for edit in listed:
            strengths = edit.strengths or self.strengths
            settings = (None, self.threshold, self.normalise)
            yield ImageSequence(tuple(Recipe(self.operation, edit.parents, a, *settings) for a in strengths))


def latent(recipe: Recipe, parents: Sequence[Latents]) -> Latents:
    """Return the first parent's latent, moved by `strength` times the cleaned difference of the other two."""
    threshold = NORM_THRESHOLD if recipe.threshold is None else recipe.threshold
    direction = expression_direction(parents[1], parents[2], threshold, bool(recipe.normalise))
    return add_direction(parents[0], direction, recipe.strength)


@dataclass(frozen=True)
class ExpressionOptions(EditOptions):
    """Holds the options of `i2s-batch edit expression`."""

    animation = "none"

    neutral: str | None = image_id_option(
        "Image of a face without the expression; needed unless there is an --edit-list."
    )
    expressive: str | None = image_id_option(
        "Image of the same face with the expression; needed unless there is an --edit-list."
    )
    edit_list: str | None = edit_list_option(
        "CSV or Parquet file with the edits, one per row: columns content, neutral, expressive and, optionally, "
        "strengths."
    )
    strengths: tuple[float, ...] = strengths_option(
        "Strengths of the expression; 1 is the difference of the two faces itself.", default=(1.0,)
    )
    threshold: float = number_option(
        "Smallest norm of a layer of the difference; smaller layers are left out.", default=NORM_THRESHOLD
    )
    normalise: bool = flag_option("Divide the difference by its norm, so that strengths are lengths in W+.")

    def request(self) -> Expression:
        """Return the request that the options ask for."""
        listed = listed_edits(self.edit_list, ROLES)
        return Expression(self.strengths, self.neutral, self.expressive, self.threshold, self.normalise, listed)


EXPRESSION = Edit(ROLES, latent, ExpressionOptions)
