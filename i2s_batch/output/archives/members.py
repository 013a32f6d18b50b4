"""Describes what an archive holds: the images of a shard that were made, in the order of its rows."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Protocol

import pyarrow as pa
import pyarrow.compute as pc

from i2s_batch.config import Json
from i2s_batch.errors import StorageError
from i2s_batch.output.layout import RunLayout
from i2s_batch.schema.columns import COLUMNS, STATUS_OK

IMAGE_FILE = "image_file"  # the column of the images' keys
_OF_FILE = ("sha256", "width", "height")
_NEEDED = ("status", "bytes", IMAGE_FILE)


def columns_read(names: Iterable[str]) -> list[str]:
    """Return those of the columns `names` of a table from which `Members` are made: all but latents and figures."""
    of_all = {column.name for column in COLUMNS}
    wanted = {"image_id", *_OF_FILE, *_NEEDED}
    return [name for name in names if name in wanted or name not in of_all]


@dataclass(frozen=True, eq=False)
class Members:
    """Holds the images of an archive, in order.

    Attributes:
        facts: What the archive says of each: image_id, how it was made (operation, parents, strength, sequence, frame
            and whatever else the run's table has beside the columns of all tables), sha256, width and height.
        names: Their names inside the archive.
        sizes: Their bytes.
    """

    facts: pa.Table
    names: list[str]
    sizes: list[int]

    @classmethod
    def of(cls, rows: pa.Table) -> Members:
        """Return the images of a shard, from its rows: one for each that is ok.

        Raises:
            StorageError: A row names no member of an archive.
        """
        made = rows.filter(pc.equal(rows["status"], STATUS_OK))
        names = [_member(key) for key in made[IMAGE_FILE].to_pylist()]
        chosen = [name for name in columns_read(rows.column_names) if name not in _NEEDED]
        ordered = [name for name in chosen if name not in _OF_FILE]
        facts = made.select([*ordered, *_OF_FILE]).replace_schema_metadata(None)
        return cls(facts, names, made["bytes"].to_pylist())

    def __len__(self) -> int:
        return len(self.names)

    @property
    def hashes(self) -> list[str]:
        """Return the sha256 of each image, hex."""
        hashes: list[str] = self.facts["sha256"].to_pylist()
        return hashes

    def each(self) -> Iterator[tuple[str, int, dict[str, Json]]]:
        """Yield name, bytes and facts of each image."""
        return zip(self.names, self.sizes, self.facts.to_pylist(), strict=True)


def _member(key: object) -> str:
    found = RunLayout.archive_and_member(key) if isinstance(key, str) else None
    if found is None:
        raise StorageError(
            f"a row has {key!r} as its image_file, which names nothing in an archive; run i2s-batch verify"
        )
    return found[2]


@dataclass(frozen=True)
class StoredImage:
    """Holds an image as it lies in an archive: its name, its bytes, and the image_id that stands beside it."""

    name: str
    data: bytes
    image_id: str | None


class Archive(Protocol):
    """Reads one archive. May be used by several threads."""

    def get(self, member: str) -> bytes:
        """Return an image by its name.

        Raises:
            ObjectNotFoundError: There is no such image, or no such archive.
            StorageError: The archive cannot be read.
        """

    def images(self) -> Iterator[StoredImage]:
        """Yield all images, in their order, with one in memory at a time, or some.

        Raises:
            StorageError: The archive cannot be read.
        """
