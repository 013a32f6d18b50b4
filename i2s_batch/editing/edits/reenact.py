"""Animates a face with the expressions of the frames of a video."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

from i2s_batch.argument_types import check_fields
from i2s_batch.editing.edit_options import EditOptions, flag_option, image_id_option, number_option, prefix_option
from i2s_batch.editing.edits.expression import latent
from i2s_batch.editing.formulas import NORM_THRESHOLD
from i2s_batch.editing.recipes import ImageSequence, Recipe
from i2s_batch.editing.registered import Edit
from i2s_batch.editing.requests import check_frames, check_numbers, check_threshold

ROLES = ("target", "neutral", "frame")


@dataclass(frozen=True)
class Reenact:
    """Asks for the change from `neutral` (None: the first frame) to each chosen frame, in the image `target`."""

    target: str
    neutral: str | None = None
    strength: float = 1.0
    threshold: float = NORM_THRESHOLD
    normalise: bool = False
    operation: str = field(default="reenact", init=False)
    listed: None = field(default=None, init=False)

    def __post_init__(self) -> None:
        check_fields(self)
        check_numbers("strength", (self.strength,))
        check_threshold(self.threshold)

    def sequences(self, chosen: Sequence[str], layers: int) -> Iterator[ImageSequence]:
        """Yield one sequence with an image a frame."""
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

    target: str = image_id_option("Image of the face that is animated.", required=True)
    frames: str | None = prefix_option(
        "Prefix of the ids of the frames, such as a folder: clip/. Default: --where or --ids chooses them."
    )
    neutral: str | None = image_id_option("Frame without expression. Default: the first.")
    strength: float = number_option("Strength of the expressions; 1 is that of the frames.", default=1.0)
    threshold: float = number_option(
        "Smallest norm of a layer of the difference; smaller layers are left out.", default=NORM_THRESHOLD
    )
    normalise: bool = flag_option("Divide the difference by its norm, so that strengths are lengths in W+.")

    def request(self) -> Reenact:
        """Return the request that the options ask for."""
        return Reenact(self.target, self.neutral, self.strength, self.threshold, self.normalise)


REENACT = Edit(ROLES, latent, ReenactOptions)
