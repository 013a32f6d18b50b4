"""Reads the noise maps of single images, which lie beside the table in files of their own."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from cachetools import LRUCache

from i2s_batch.errors import LatentError, ObjectNotFoundError
from i2s_batch.output.layout import RunLayout
from i2s_batch.output.noise_parts import NoiseParts
from i2s_batch.output.noise_shards import REPAIR
from i2s_batch.output.ownership import find_record
from i2s_batch.parquet.row_groups import RowGroupCache, RowGroups
from i2s_batch.schema.noise_codec import maps_in, noise_schema
from i2s_batch.storage import Store, open_store
from i2s_batch.table.latent_reader import LatentLocation
from i2s_batch.table.table_ids import is_called, readings

_CACHE_BYTES = 64 << 20
_FILES_OPEN = 16


def has_noise(out: str) -> bool:
    """Return whether the run at `out` has a noise stage, by its run.json."""
    record = find_record(open_store(out))
    return record is not None and bool(record.settings.noise_steps)


class NoiseReader:
    """Reads noise maps of `size` values at the locations that a `LatentIndex` has found. For one thread."""

    def __init__(self, urls: Sequence[str], size: int) -> None:
        self._stores, self._size = [open_store(url) for url in urls], size
        self._parts: dict[int, NoiseParts] = {}
        self._cache = RowGroupCache(_CACHE_BYTES)
        self._files: LRUCache[tuple[int, int], _NoiseFile] = LRUCache(_FILES_OPEN)

    def read(self, image_id: str, location: LatentLocation | None) -> np.ndarray:
        """Return the maps of an image, float16 [size].

        Raises:
            LatentError: The table has none for it.
            StorageError: Their file is damaged.
        """
        if location is None:
            raise LatentError(f"no table holds an image {image_id!r}")
        url = self._stores[location.table].url
        ids = (image_id, *(each for table, each in readings(image_id) if is_called(table, url)))
        number = self._parts_of(location.table).file_of(location.shard, location.row)
        try:
            maps = self._file(location.table, number).read(ids)
        except ObjectNotFoundError:
            maps = None
        if maps is None:
            raise LatentError(f"{url}: {image_id!r} has no noise maps; draw it with the stored noise")
        return maps

    def _parts_of(self, table: int) -> NoiseParts:
        if table not in self._parts:
            record = find_record(self._stores[table])
            shard_size = None if record is None else record.settings.shard_size
            if shard_size is None:
                raise LatentError(f"{self._stores[table].url} has no run.json, which says where its noise maps are")
            self._parts[table] = NoiseParts.of(shard_size, self._size)
        return self._parts[table]

    def _file(self, table: int, number: int) -> _NoiseFile:
        file = self._files.get((table, number))
        if file is None:
            store = self._stores[table]
            file = self._files[table, number] = _NoiseFile(store, RunLayout.noise(number), self._size, self._cache)
        return file


class _NoiseFile:
    """Reads the maps of images in one file."""

    def __init__(self, store: Store, key: str, size: int, cache: RowGroupCache) -> None:
        self._rows = RowGroups(store, key, None, cache, REPAIR)
        if self._rows.schema != noise_schema(size):
            raise LatentError(f"{store.uri(key)!r} holds the noise maps of another generator")
        ids = self._rows.read(["image_id"])["image_id"].to_pylist()
        self._positions = {image_id: position for position, image_id in enumerate(ids)}

    def read(self, ids: Sequence[str]) -> np.ndarray | None:
        """Return the maps of the first of `ids` that the file has; None if it has none of them."""
        for image_id in ids:
            if image_id in self._positions:
                maps: np.ndarray = maps_in(self._rows.slice(self._positions[image_id], 1))[0]
                return maps
        return None
