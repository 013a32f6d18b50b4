"""Defines the units of an embedding run: what a worker needs to know of one image."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from i2s_batch.config import ImageSettings
from i2s_batch.output.units import Unit
from i2s_batch.schema.row import Cell


@dataclass(frozen=True)
class Successor:
    """Names the unit that resumes from the last state of another: its index, and its image's id."""

    index: int
    image_id: str


@dataclass(frozen=True, kw_only=True)
class EmbedUnit(Unit):
    """Describes one image to embed.

    Attributes:
        uri: The path or URL of the image.
        settings: The settings it is embedded with.
        keeps_image: True if the reconstruction is written under OUT, too.
        successor: The unit that resumes from this one's last state, if there is one.
        given: What a list says of the part of the image that is embedded (`targets.given_columns`), by column.
    """

    uri: str
    settings: ImageSettings
    keeps_image: bool = False
    successor: Successor | None = None
    given: Mapping[str, Cell] = field(default_factory=dict)

    @property
    def image_id(self) -> str:
        """Return the id of its image."""
        return self.image_ids[0]
