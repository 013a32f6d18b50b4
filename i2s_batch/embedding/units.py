"""The units of an embedding run: what a worker needs to know of one image."""

from __future__ import annotations

from dataclasses import dataclass

from i2s_batch.config import ImageSettings
from i2s_batch.output.units import Unit


@dataclass(frozen=True)
class Successor:
    """The unit that resumes from the last state of another: its index, and its image's id."""

    index: int
    image_id: str


@dataclass(frozen=True, kw_only=True)
class EmbedUnit(Unit):
    """One image to embed.

    Attributes:
        uri: Where the image is read.
        settings: What it is embedded with.
        keeps_image: Whether the reconstruction is written under OUT, too.
        successor: The unit that resumes from this one's last state, if there is one.
    """

    uri: str
    settings: ImageSettings
    keeps_image: bool = False
    successor: Successor | None = None

    @property
    def image_id(self) -> str:
        """The id of its image."""
        return self.image_ids[0]
