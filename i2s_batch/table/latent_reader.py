"""Reads single latents of large tables: an index of where each is, and a reader that never holds a table."""

from __future__ import annotations

from collections.abc import Collection, Sequence
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
from i2s_batch.table.table_ids import is_called, readings

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
        fit: How images were made square.
    """

    url: str
    generator: str
    origin: str
    latent_shape: tuple[int, int]
    fit: str


class LatentIndex:
    """Finds where the latents of one or several tables are, by image id. Holds no latents.

    Attributes:
        tables: What the shards of each table record.
        unfinished: What the tables lack, of those that lack rows.
    """

    def __init__(self, outs: Sequence[str], given: int | None = None, first_wins: bool = False) -> None:
        """Read the ids of the tables at `outs`.

        Args:
            outs: The tables.
            given: The number of tables, the first, whose images have their ids as names; None for all. Those of the
                others are named as TABLE:ID.
            first_wins: Whether an id that several tables hold means the image of the first; it is refused otherwise.

        Raises:
            StorageError: A table cannot be read.
            RunConflictError: The tables were made by different generators.
        """
        self._given, self._first_wins = len(outs) if given is None else given, first_wins
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
        self._more_rows: dict[str, list[int]] = {}  # of ids that several tables hold, after the first
        for row, image_id in enumerate(ids):
            if self._rows.setdefault(image_id, row) != row:
                self._more_rows.setdefault(image_id, []).append(row)

    def in_tables(self, count: int) -> tuple[list[str], int]:
        """Return the images of the first `count` tables that have a latent, in order, and how many have none."""
        rows = int(np.searchsorted(self._locations[:, 0], count))
        ok = [image_id for image_id, status in zip(self.ids[:rows], self.status, strict=False) if status == STATUS_OK]
        return ok, rows - len(ok)

    def ids_in(self, urls: Collection[str]) -> list[str]:
        """Return the ids of the tables at some urls, in order."""
        numbers = [number for number, table in enumerate(self.tables) if table.url in urls]
        rows = np.flatnonzero(np.isin(self._locations[:, 0], numbers)).tolist()
        return [self.ids[row] for row in rows]

    def location(self, name: str) -> LatentLocation | None:
        """Return where the latent of an image is, named by its id or as TABLE:ID; None if no table holds the image.

        An id that is the whole name comes before TABLE:ID.

        Raises:
            SourceError: Several tables hold it.
        """
        row = self._row(name)
        return None if row is None else LatentLocation(*self._locations[row].tolist())

    def holds(self, name: str) -> bool:
        """Return whether a table holds the image of this name; errors as `location`."""
        return self._row(name) is not None

    def status_of(self, name: str) -> str | None:
        """Return the status of an image's row; None if no table holds the image; errors as `location`."""
        row = self._row(name)
        return None if row is None else self.status[row]

    def _row(self, name: str) -> int | None:
        found = [row for row in self._rows_of(name) if self._locations[row, 0] < self._given] or [
            row
            for table, image_id in readings(name)
            for row in self._rows_of(image_id)
            if is_called(table, self._table_of(row))
        ]
        if len(found) > 1 and not self._first_wins:
            first, second = map(self._table_of, found[:2])
            advice = f"name one, such as {first.rpartition('/')[2]}:{name}"
            raise SourceError(f"{name!r} is an image of {first} and of {second}; {advice}, or edit one table at a time")
        return found[0] if found else None

    def _rows_of(self, image_id: str) -> list[int]:
        first = self._rows.get(image_id)
        return [] if first is None else [first, *self._more_rows.get(image_id, ())]

    def _table_of(self, row: int) -> str:
        return self.tables[int(self._locations[row, 0])].url

    def distance(self, name: str) -> float | None:
        """Return the w_distance of an image; None if it has none. Errors as `location`."""
        row = self._row(name)
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
    settings = recorded_settings(schema, url)
    origin = "unknown" if settings.generator is None else settings.generator.origin
    fingerprint = texts_of(schema.metadata).get(META_GENERATOR, "")
    return TableFacts(url, fingerprint, origin, latent_shape(schema), settings.run.fit)


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
        ids = (image_id, *(each for table, each in readings(image_id) if is_called(table, url)))
        try:
            rows = self._shard(location.table, location.shard).row(ids, location.row)
        except ReplacedError:  # as by a run that tries failed images again; the id is checked below
            rows = None
        if rows is None:
            self._shards.pop((location.table, location.shard), None)
            rows = self._shard(location.table, location.shard).row(ids, location.row)
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

    def row(self, ids: Sequence[str], position: int) -> pa.Table | None:
        """Return the row of an image, which was at `position`; None if it is not in the shard.

        Args:
            ids: The ids that may be meant: the name of the image, and that of TABLE:ID.
            position: Where it was when the shard was indexed.
        """
        if len(ids) == 1:
            rows = self._rows.slice(position, 1)
            if len(rows) and rows["image_id"][0].as_py() == ids[0]:
                return rows
        if self._positions is None:
            listed = self._rows.read(["image_id"])["image_id"].to_pylist()
            self._positions = {each: number for number, each in enumerate(listed)}
        found = [self._positions[each] for each in ids if each in self._positions]
        # Of several it is the one that has not moved: another would be an image that nobody has asked for.
        found = [each for each in found if each == position] if len(found) > 1 else found
        return self._rows.slice(found[0], 1) if found else None
