"""Finds the photographs behind latents: what a table's rows were embedded from, as the generator was shown it."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np
import pyarrow as pa
from cachetools import LRUCache

from i2s_batch.errors import I2SError
from i2s_batch.images.align.frame import rescaled
from i2s_batch.images.align.shown import as_embedded
from i2s_batch.images.read.decoding import decode_image
from i2s_batch.output.archives.reading import RunImages
from i2s_batch.output.layout import RunLayout
from i2s_batch.parquet.row_groups import RowGroupCache
from i2s_batch.run.recorded import present_uris
from i2s_batch.sources.image_bytes import read_bytes
from i2s_batch.table.latent_reader import LatentIndex, LatentLocation
from i2s_batch.table.shards import ShardRows
from i2s_batch.table.snapshot import open_snapshot
from i2s_batch.table.table_ids import is_name_of

_CACHE_BYTES = 16 << 20
_SHARDS_OPEN = 16
_COLUMNS = ("image_id", "uri", "sha256")
# Columns that only some tables have: of alignment, and of lists that `i2s-batch align` has written.
_LISTED = ("aligned_from", "aligned_from_sha256", "aligned_size", "list_transform")
_COLUMNS_TOO = ("crop_box", "landmarks", "transform", *_LISTED)


class Originals:
    """Reads the images that the rows of some tables were embedded from. One thread calls `find`, any `read`."""

    def __init__(self, tables: Sequence[str]) -> None:
        """Read the ids of the tables; errors as `LatentIndex`."""
        self._index = LatentIndex(tables, first_wins=True)
        self._stores = [open_snapshot(table, quiet=True).store for table in tables]
        self._images = [RunImages.of(store) for store in self._stores]
        self._present = [present_uris(table) for table in tables]
        self._cache = RowGroupCache(_CACHE_BYTES)
        self._shards: LRUCache[tuple[int, int], ShardRows] = LRUCache(_SHARDS_OPEN)

    def find(self, name: str) -> Original | None:
        """Return where the image of an id is; None if no table holds it, or the table has changed."""
        try:
            location = self._index.location(name)
            row = None if location is None else self._row(location)
        except I2SError:
            return None
        if location is None or row is None or not is_name_of(name, row.image_id):
            return None
        uri, store = self._present[location.table](row.uri), self._stores[location.table]
        inside = uri.removeprefix(f"{store.url}/")
        images = self._images[location.table]
        read = partial(images.get, inside) if images.in_archives and inside != uri else partial(read_bytes, uri)
        return Original(row, read, self._index.tables[location.table].fit)

    def _row(self, location: LatentLocation) -> _OriginalRow | None:
        shard = (location.table, location.shard)
        if shard not in self._shards:
            key = RunLayout.shard(location.shard)
            self._shards[shard] = ShardRows(self._stores[location.table], key, (*_COLUMNS, *_COLUMNS_TOO), self._cache)
        rows = self._shards[shard]
        return _OriginalRow.of(rows.slice(location.row, 1)) if location.row < rows.num_rows else None


@dataclass(frozen=True)
class _OriginalRow:
    """Holds what a row says of its photograph; None for what its table does not hold."""

    image_id: str
    uri: str
    sha256: str | None
    crop_box: np.ndarray | None = None
    landmarks: np.ndarray | None = None
    transform: np.ndarray | None = None
    aligned_from: str | None = None
    aligned_from_sha256: str | None = None
    aligned_size: int | None = None
    list_transform: np.ndarray | None = None

    @classmethod
    def of(cls, rows: pa.Table) -> _OriginalRow:
        """Return the first of some rows; a user's own column of such a name holds something else and is left out."""
        values = {name: rows[name][0].as_py() for name in rows.column_names}
        for name in ("crop_box", "landmarks", "transform", "list_transform"):
            value = values.get(name)
            is_array = isinstance(value, list) and all(isinstance(each, float) for each in value)
            values[name] = np.array(value, np.float32) if is_array else None
        for name in _LISTED[:2]:
            values[name] = values[name] if isinstance(values.get(name), str) else None
        values["aligned_size"] = values["aligned_size"] if isinstance(values.get("aligned_size"), int) else None
        return cls(**values)


class Original:
    """Locates a photograph."""

    def __init__(self, row: _OriginalRow, read: Callable[[], bytes], fit: str) -> None:
        """Take its row, and what returns the bytes of its file."""
        self._row, self._read, self._fit = row, read, fit

    def read(self, side: int) -> np.ndarray | None:
        """Return it as it was embedded, uint8 [side, side, 3]; None if it is gone, or is not the same file any more."""
        row = self._row
        try:
            pixels = _pixels(self._read, row.sha256)
            return None if pixels is None else as_embedded(pixels, side, self._fit, row.landmarks, row.crop_box)
        except I2SError:  # whatever has become of it, the edit is valid
            return None

    def transform(self, side: int) -> np.ndarray | None:
        """Return the transform by which its face was aligned, [6], to an image of `side` pixels, the generator's.

        None if it was embedded as it is.
        """
        row = self._row
        if row.transform is not None:
            return row.transform
        if row.list_transform is None or len(row.list_transform) != 6 or not row.aligned_size:
            return None
        return rescaled(row.list_transform, side / row.aligned_size)

    def read_whole(self) -> np.ndarray | None:
        """Return the photograph that its face was taken from, uint8 [H, W, 3]; None as `read`."""
        row = self._row
        try:
            if row.transform is None and row.aligned_from is not None:
                return _pixels(partial(read_bytes, row.aligned_from), row.aligned_from_sha256)
            return _pixels(self._read, row.sha256)
        except I2SError:
            return None


def _pixels(read: Callable[[], bytes], sha256: str | None) -> np.ndarray | None:
    """Return the pixels of a file; None if it is another one now. Raises I2SError if it cannot be read."""
    data = read()
    return decode_image(data) if hashlib.sha256(data).hexdigest() == sha256 else None
