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


@dataclass(frozen=True)
class SameBytes:
    """Names the image that had the same bytes when the run was planned, and is embedded first.

    Attributes:
        index: The index of its unit.
        image_id: Its id.
        shard: The shard of the table that gets its row.
        row: Its row in the shard.
        sha256: Of the bytes of both, hex.
    """

    index: int
    image_id: str
    shard: int
    row: int
    sha256: str


@dataclass(frozen=True, kw_only=True)
class EmbedUnit(Unit):
    """Describes one image to embed.

    Attributes:
        uri: The path or URL of the image.
        settings: The settings it is embedded with.
        keeps_image: True if the reconstruction is written under OUT, too.
        successor: The unit that resumes from this one's last state, if there is one.
        same_as: The image whose result this one gets, if there is one with the same bytes.
        given: What a list says of the part of the image that is embedded (`targets.given_columns`), by column.
    """

    uri: str
    settings: ImageSettings
    keeps_image: bool = False
    successor: Successor | None = None
    same_as: SameBytes | None = None
    given: Mapping[str, Cell] = field(default_factory=dict)

    @property
    def image_id(self) -> str:
        """Return the id of its image."""
        return self.image_ids[0]
