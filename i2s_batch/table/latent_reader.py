"""Single latents of large tables: where each lies, found once; and a reader that never holds a table."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from i2s_batch.errors import LatentError, RunConflictError, SourceError
from i2s_batch.output.layout import RunLayout
from i2s_batch.schema.columns import STATUS_OK
from i2s_batch.schema.metadata import META_GENERATOR, texts_of
from i2s_batch.storage import open_store
from i2s_batch.table.shards import existing_shards, latent_shape, open_shard, recorded_settings

# Row groups kept by a reader: 128 codes of 18 x 512 are 4.7 MB.
_CACHE_BYTES = 256 << 20
_SCALARS = ["image_id", "status", "w_distance"]

PLACE = pa.struct([("table", pa.int32()), ("shard", pa.int32()), ("row", pa.int32())])


class LatentLocation(NamedTuple):
    """Where a latent is: the number of its table among those that are read, its shard, and its row in the shard."""

    table: int
    shard: int
    row: int


@dataclass(frozen=True)
class TableFacts:
    """What the shards of a table say of themselves. `generator`: fingerprint, hex; `origin`: where it was read."""

    url: str
    generator: str
    origin: str
    latent_shape: tuple[int, int]


class LatentIndex:
    """Where the codes of one or several tables lie, by image id. Holds no codes.

    `scalars` are the rows without latents and curves, all tables one after the other.
    """

    def __init__(self, outs: Sequence[str]) -> None:
        """Read the ids of the tables at `outs`; raises StorageError, and RunConflictError if the tables were made
        by different generators."""
        self.tables: list[TableFacts] = []
        ids: list[str] = []
        status: list[str] = []
        places, distances = [], []
        for number, out in enumerate(outs):
            store = open_store(out)
            for key in existing_shards(store):
                shard = RunLayout.shard_index(key)
                with open_shard(store, key, whole=False) as file:
                    rows, schema = file.read(_SCALARS, use_threads=False), file.schema_arrow
                if len(self.tables) == number:
                    self.tables.append(_facts(store.url, schema))
                ids += rows["image_id"].to_pylist()
                status += rows["status"].to_pylist()
                distances.append(rows["w_distance"].to_numpy())
                numbers = np.arange(len(rows), dtype=np.int32)
                places.append(np.stack([np.full_like(numbers, number), np.full_like(numbers, shard), numbers], 1))
        self._check_same_generator()
        self.ids, self.status = ids, status
        self._places, self._distances = np.concatenate(places), np.concatenate(distances)
        self._rows: dict[str, int] = {}
        self._doubled: dict[str, int] = {}  # ids that several tables hold
        for row, image_id in enumerate(ids):
            if self._rows.setdefault(image_id, row) != row:
                self._doubled[image_id] = row

    def ok(self) -> list[str]:
        """The images that have a code, in the order of the tables."""
        return [image_id for image_id, status in zip(self.ids, self.status, strict=True) if status == STATUS_OK]

    def location(self, image_id: str) -> LatentLocation | None:
        """Return where the latent of an image is; None if no table holds the image. SourceError if several do."""
        row = self._rows.get(image_id)
        if row is None:
            return None
        if image_id in self._doubled:
            here, there = (self.tables[self._places[r, 0]].url for r in (row, self._doubled[image_id]))
            raise SourceError(f"{image_id!r} is an image of {here} and of {there}; edit one table at a time")
        table, shard, number = self._places[row].tolist()
        return LatentLocation(table, shard, number)

    def distance(self, image_id: str) -> float | None:
        """The image's w_distance; None if it has none."""
        row = self._rows.get(image_id)
        value = np.nan if row is None else float(self._distances[row])
        return None if np.isnan(value) else value

    def _check_same_generator(self) -> None:
        first = self.tables[0]
        for table in self.tables[1:]:
            if table.generator != first.generator:
                raise RunConflictError(
                    f"{first.url} was made by the generator {first.generator[:12]}... ({first.origin}), {table.url} by "
                    f"{table.generator[:12]}... ({table.origin}); codes of different generators do not mix"
                )


def _facts(url: str, schema: pa.Schema) -> TableFacts:
    made_by = recorded_settings(schema, url).generator
    origin = "unknown" if made_by is None else made_by.origin
    return TableFacts(url, texts_of(schema.metadata).get(META_GENERATOR, ""), origin, latent_shape(schema))


class LatentReader:
    """Reads codes at the places that a `LatentIndex` has found; keeps the row groups used last. One thread."""

    def __init__(self, urls: Sequence[str]) -> None:
        self._stores = [open_store(url) for url in urls]
        self._groups: OrderedDict[tuple[int, int, int], tuple[list[str], list[str], np.ndarray]] = OrderedDict()
        self._starts: dict[tuple[int, int], np.ndarray] = {}  # of a shard's row groups
        self._bytes = 0

    def read(self, image_id: str, location: LatentLocation | None) -> np.ndarray:
        """Return the latent of an image, float32 [L * w_dim]. Raises LatentError if the table has none for it."""
        if location is None:
            raise LatentError(f"no table holds an image {image_id!r}")
        store, shard = self._stores[location.table], (location.table, location.shard)
        if shard not in self._starts:
            self._starts[shard] = self._row_group_starts(*shard)
        group = int(np.searchsorted(self._starts[shard], location.row, side="right")) - 1
        ids, statuses, codes = self._group(*shard, group)
        row = location.row - int(self._starts[shard][group])
        if row >= len(ids) or ids[row] != image_id:
            raise LatentError(f"{store.url}: {image_id!r} is not where it was when the edit was planned; plan anew")
        if statuses[row] != STATUS_OK:
            raise LatentError(f"{store.url}: {image_id!r} has no code, its status is {statuses[row]!r}")
        code: np.ndarray = codes[row]
        return code

    def _row_group_starts(self, table: int, shard: int) -> np.ndarray:
        with self._open(table, shard) as file:
            sizes = [file.metadata.row_group(group).num_rows for group in range(file.num_row_groups)]
        return np.cumsum([0, *sizes[:-1]])

    def _group(self, table: int, shard: int, group: int) -> tuple[list[str], list[str], np.ndarray]:
        key = (table, shard, group)
        if key not in self._groups:
            with self._open(table, shard) as file:
                rows = file.read_row_group(group, ["image_id", "status", "latent"], use_threads=False)
            codes = _codes(rows["latent"].combine_chunks())
            self._groups[key] = (rows["image_id"].to_pylist(), rows["status"].to_pylist(), codes)
            self._bytes += codes.nbytes
            while self._bytes > _CACHE_BYTES and len(self._groups) > 1:
                self._bytes -= self._groups.popitem(last=False)[1][2].nbytes
        self._groups.move_to_end(key)
        return self._groups[key]

    def _open(self, table: int, shard: int) -> AbstractContextManager[pq.ParquetFile]:
        store = self._stores[table]
        return open_shard(store, RunLayout.shard(shard), whole=False)


def _codes(column: pa.FixedSizeListArray) -> np.ndarray:
    """float32 [N, L * w_dim]; a row without a code is NaN."""
    size = column.type.list_size
    codes = np.full((len(column), size), np.nan, np.float32)
    valid = column.is_valid().to_numpy(zero_copy_only=False)
    codes[valid] = column.drop_null().flatten().to_numpy().reshape(-1, size)
    return codes
