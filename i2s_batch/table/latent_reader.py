"""Reads single latents of large tables: an index of where each is, and a reader that never holds a table."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import pyarrow as pa
from cachetools import LRUCache

from i2s_batch.errors import LatentError, ObjectNotFoundError, RunConflictError, SourceError
from i2s_batch.output.layout import RunLayout
from i2s_batch.parquet.row_groups import ReplacedError, RowGroupCache
from i2s_batch.schema.columns import STATUS_OK
from i2s_batch.schema.metadata import META_GENERATOR, texts_of
from i2s_batch.storage import Store, open_store
from i2s_batch.table.shards import ShardRows, latent_shape, open_shard, recorded_settings
from i2s_batch.table.snapshot import Unfinished, open_snapshot

# Row groups cached by a reader: 128 latents of 18 x 512 are 4.7 MB.
_CACHE_BYTES = 256 << 20
_SHARDS_OPEN = 64  # shards whose footers are cached, some 300 KB each
_SCALARS = ["image_id", "status", "w_distance"]

LOCATION = pa.struct([("table", pa.int32()), ("shard", pa.int32()), ("row", pa.int32())])


class LatentLocation(NamedTuple):
    """Locates a latent: the number of its table among those that are read, its shard, and its row in the shard."""

    table: int
    shard: int
    row: int


@dataclass(frozen=True)
class TableFacts:
    """Holds what the shards of a table record about it.

    Attributes:
        url: The output.
        generator: The fingerprint of the generator, hex.
        origin: Where the generator was read.
        latent_shape: L and w_dim.
    """

    url: str
    generator: str
    origin: str
    latent_shape: tuple[int, int]


class LatentIndex:
    """Finds where the latents of one or several tables are, by image id. Holds no latents.

    Attributes:
        tables: What the shards of each table record.
        unfinished: What the tables lack, of those that lack rows.
    """

    def __init__(self, outs: Sequence[str]) -> None:
        """Read the ids of the tables at `outs`.

        Raises:
            StorageError: A table cannot be read.
            RunConflictError: The tables were made by different generators.
        """
        self.tables: list[TableFacts] = []
        self.unfinished: list[Unfinished] = []
        ids: list[str] = []
        status: list[str] = []
        locations, distances = [], []
        for number, out in enumerate(outs):
            snapshot = open_snapshot(out, quiet=True)
            if snapshot.unfinished is not None:
                self.unfinished.append(snapshot.unfinished)
            for key in snapshot.keys:
                shard = RunLayout.shard_index(key)
                with open_shard(snapshot.store, key, whole=False) as file:
                    rows, schema = file.read(_SCALARS, use_threads=False), file.schema_arrow
                if len(self.tables) == number:
                    self.tables.append(_facts(snapshot.store.url, schema))
                ids += rows["image_id"].to_pylist()
                status += rows["status"].to_pylist()
                distances.append(rows["w_distance"].to_numpy())
                numbers = np.arange(len(rows), dtype=np.int32)
                locations.append(np.stack([np.full_like(numbers, number), np.full_like(numbers, shard), numbers], 1))
        self._check_same_generator()
        self.ids, self.status = ids, status
        self._locations, self._distances = np.concatenate(locations), np.concatenate(distances)
        self._rows: dict[str, int] = {}
        self._duplicates: dict[str, int] = {}  # ids that several tables hold
        for row, image_id in enumerate(ids):
            if self._rows.setdefault(image_id, row) != row:
                self._duplicates[image_id] = row

    def ok(self) -> list[str]:
        """Return the images that have a latent, in the order of the tables."""
        return [image_id for image_id, status in zip(self.ids, self.status, strict=True) if status == STATUS_OK]

    def location(self, image_id: str) -> LatentLocation | None:
        """Return where the latent of an image is; None if no table holds the image.

        Raises:
            SourceError: Several tables hold it.
        """
        row = self._rows.get(image_id)
        if row is None:
            return None
        if image_id in self._duplicates:
            first, second = (self.tables[self._locations[r, 0]].url for r in (row, self._duplicates[image_id]))
            raise SourceError(f"{image_id!r} is an image of {first} and of {second}; edit one table at a time")
        table, shard, number = self._locations[row].tolist()
        return LatentLocation(table, shard, number)

    def status_of(self, image_id: str) -> str | None:
        """Return the status of an image's row; None if no table holds the image.

        Raises:
            SourceError: Several tables hold it.
        """
        return None if self.location(image_id) is None else self.status[self._rows[image_id]]

    def distance(self, image_id: str) -> float | None:
        """Return the image's w_distance; None if it has none."""
        row = self._rows.get(image_id)
        value = np.nan if row is None else float(self._distances[row])
        return None if np.isnan(value) else value

    def _check_same_generator(self) -> None:
        first = self.tables[0]
        for table in self.tables[1:]:
            if table.generator != first.generator:
                raise RunConflictError(
                    f"{first.url} was made by the generator {first.generator[:12]}... ({first.origin}), {table.url} by "
                    f"{table.generator[:12]}... ({table.origin}); latents of different generators cannot be combined"
                )


def _facts(url: str, schema: pa.Schema) -> TableFacts:
    generator = recorded_settings(schema, url).generator
    origin = "unknown" if generator is None else generator.origin
    return TableFacts(url, texts_of(schema.metadata).get(META_GENERATOR, ""), origin, latent_shape(schema))


class LatentReader:
    """Reads latents at the locations that a `LatentIndex` has found; caches the most recently used row groups.

    A table may have been in progress when it was indexed. Then a row is where it was, or elsewhere in the same shard,
    which has gained rows since: it is found by its id.
    """

    def __init__(self, urls: Sequence[str]) -> None:
        self._stores = [open_store(url) for url in urls]
        self._cache = RowGroupCache(_CACHE_BYTES)
        self._shards: LRUCache[tuple[int, int], _IndexedShard] = LRUCache(_SHARDS_OPEN)

    def read(self, image_id: str, location: LatentLocation | None) -> np.ndarray:
        """Return the latent of an image, float32 [L * w_dim].

        Raises:
            LatentError: The table has none for it.
        """
        if location is None:
            raise LatentError(f"no table holds an image {image_id!r}")
        url = self._stores[location.table].url
        try:
            rows = self._shard(location.table, location.shard).row(image_id, location.row)
        except ReplacedError:  # as by a run that tries failed images again; the id is checked below
            rows = None
        if rows is None:
            self._shards.pop((location.table, location.shard), None)
            rows = self._shard(location.table, location.shard).row(image_id, location.row)
        if rows is None:
            raise LatentError(
                f"{url}: {image_id!r} is not where it was when the edit was planned; give the edit another OUT"
            )
        status = rows["status"][0].as_py()
        if status != STATUS_OK:
            raise LatentError(f"{url}: {image_id!r} has no latent, its status is {status!r}")
        latent: np.ndarray = rows["latent"].combine_chunks().flatten().to_numpy()
        return latent

    def _shard(self, table: int, shard: int) -> _IndexedShard:
        rows = self._shards.get((table, shard))
        if rows is None:
            store, key = self._stores[table], RunLayout.shard(shard)
            try:
                rows = _IndexedShard(store, key, self._cache)
            except ObjectNotFoundError:  # not published yet
                rows = _IndexedShard(open_snapshot(store.url, quiet=True).store, key, self._cache)
            self._shards[table, shard] = rows
        return rows


class _IndexedShard:
    """Reads rows of a shard by their position or, where another image is there, by their id."""

    def __init__(self, store: Store, key: str, cache: RowGroupCache) -> None:
        self._rows = ShardRows(store, key, ["image_id", "status", "latent"], cache)
        self._positions: dict[str, int] | None = None

    def row(self, image_id: str, position: int) -> pa.Table | None:
        """Return the row of an image, which was at `position`; None if it is not in the shard."""
        rows = self._rows.slice(position, 1)
        if len(rows) and rows["image_id"][0].as_py() == image_id:
            return rows
        if self._positions is None:
            ids = self._rows.read(["image_id"])["image_id"].to_pylist()
            self._positions = {each: number for number, each in enumerate(ids)}
        found = self._positions.get(image_id)
        return None if found is None else self._rows.slice(found, 1)
