"""Reenactments: the expressions of the frames of a film, given to another face."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

from i2s_batch.editing.edit_options import EditOptions, flag_option, image_id_option, number_option, prefix_option
from i2s_batch.editing.edits.expression import latent
from i2s_batch.editing.formulas import NORM_THRESHOLD
from i2s_batch.editing.recipes import ImageSequence, Recipe
from i2s_batch.editing.registered import Edit
from i2s_batch.editing.requests import check_frames, check_numbers, check_threshold

ROLES = ("target", "neutral", "frame")


@dataclass(frozen=True)
class Reenact:
    """Asks for what each chosen frame differs in from `neutral`, their first if None, to be given to `target`."""

    target: str
    neutral: str | None = None
    strength: float = 1.0
    threshold: float = NORM_THRESHOLD
    normalise: bool = False
    operation: str = field(default="reenact", init=False)
    listed: None = field(default=None, init=False)

    def __post_init__(self) -> None:
        check_numbers("strength", (self.strength,))
        check_threshold(self.threshold)

    def sequences(self, chosen: Sequence[str], layers: int) -> Iterator[ImageSequence]:
        """Yield one sequence: an image a frame."""
        if not chosen:
            return
        check_frames(len(chosen))
        neutral = chosen[0] if self.neutral is None else self.neutral
        parents = [(self.target, neutral, frame) for frame in chosen]
        settings = (self.strength, None, self.threshold, self.normalise)
        recipes = tuple(Recipe(self.operation, three, *settings) for three in parents)
        yield ImageSequence(recipes, named_after=parents[0])


@dataclass(frozen=True)
class ReenactOptions(EditOptions):
    """Holds the options of `i2s-batch edit reenact`."""

    animation = "webp"

    target: str = image_id_option("The face that is to move.", required=True)
    frames: str | None = prefix_option("Choose the images whose ids begin so, such as a folder: clip/")
    neutral: str | None = image_id_option("The frame without expression; default: the first.")
    strength: float = number_option("1 is the change itself.", default=1.0)
    threshold: float = number_option("Layers of the change that are shorter are left out.", default=NORM_THRESHOLD)
    normalise: bool = flag_option("Divide the change by its norm: strengths are lengths.")

    def request(self) -> Reenact:
        """Return the request that the options ask for."""
        return Reenact(self.target, self.neutral, self.strength, self.threshold, self.normalise)


REENACT = Edit(ROLES, latent, ReenactOptions)
