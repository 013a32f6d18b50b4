"""Cuts the noise maps of a run into files of their own: an image's maps may have megabytes, its row has kilobytes."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

_FILE_BYTES = 64 << 20  # of the maps in one file, which is encoded in memory


@dataclass(frozen=True)
class NoiseParts:
    """Says which file under noise/ holds the maps of a row of the table.

    A shard of the table has `per_shard` files, each with the maps of `rows` neighbouring rows; the last ones of a shard
    with fewer rows do not exist.
    """

    rows: int
    per_shard: int

    @classmethod
    def of(cls, shard_size: int, size: int) -> NoiseParts:
        """Return the parts for shards of `shard_size` rows and maps of `size` values an image, in float16."""
        rows = max(1, min(shard_size, _FILE_BYTES // max(1, 2 * size)))
        return cls(rows, -(-shard_size // rows))

    def file_of(self, shard: int, row: int) -> int:
        """Return the number of the file that holds the maps of a row of a shard."""
        return shard * self.per_shard + row // self.rows

    def files(self, shard: int, rows: int) -> Iterator[tuple[int, range]]:
        """Yield the files of a shard of `rows` rows: the number of each, and its rows in the shard."""
        for start in range(0, rows, self.rows):
            yield self.file_of(shard, start), range(start, min(start + self.rows, rows))
