"""Finds the photographs behind latents: what a table's rows were embedded from, as the generator was shown it."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from functools import partial

import numpy as np
from cachetools import LRUCache

from i2s_batch.errors import I2SError
from i2s_batch.images.read.decoding import decode_image
from i2s_batch.images.resize import fit_image
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
_COLUMNS = ["image_id", "uri", "sha256"]


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
        if location is None or row is None or not is_name_of(name, row[0]):
            return None
        uri, store = self._present[location.table](row[1]), self._stores[location.table]
        inside = uri.removeprefix(f"{store.url}/")
        images = self._images[location.table]
        read = partial(images.get, inside) if images.in_archives and inside != uri else partial(read_bytes, uri)
        return Original(read, row[2], self._index.tables[location.table].fit)

    def _row(self, location: LatentLocation) -> tuple[str, str, str | None] | None:
        shard = (location.table, location.shard)
        if shard not in self._shards:
            key = RunLayout.shard(location.shard)
            self._shards[shard] = ShardRows(self._stores[location.table], key, _COLUMNS, self._cache)
        rows = self._shards[shard].slice(location.row, 1)
        return tuple(rows[name][0].as_py() for name in _COLUMNS) if len(rows) else None


class Original:
    """Locates a photograph."""

    def __init__(self, read: Callable[[], bytes], sha256: str | None, fit: str) -> None:
        """Take what returns the bytes of its file."""
        self._read, self._sha256, self._fit = read, sha256, fit

    def read(self, side: int) -> np.ndarray | None:
        """Return it as it was embedded, uint8 [side, side, 3]; None if it is gone, or is not the same file any more."""
        try:
            data = self._read()
            if hashlib.sha256(data).hexdigest() != self._sha256:
                return None
            return fit_image(decode_image(data), side, self._fit)
        except I2SError:  # whatever has become of it, the edit is valid
            return None
