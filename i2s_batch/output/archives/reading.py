"""Reads the images of an edit run by their keys, wherever the run keeps them: in files, or in archives."""

from __future__ import annotations

import threading

from cachetools import LRUCache

from i2s_batch.output.archives.members import Archive, Members, columns_read
from i2s_batch.output.archives.names import unarchived_key
from i2s_batch.output.archives.registered import ARCHIVES
from i2s_batch.output.layout import RunLayout
from i2s_batch.output.ownership import find_record
from i2s_batch.parquet.row_groups import RowGroups
from i2s_batch.schema.settings import RunSettings
from i2s_batch.storage import Store

_ARCHIVES_OPEN = 8


class RunImages:
    """Reads the images of the run in `store`. May be used by several threads.

    Attributes:
        in_archives: Whether the images are members of archives, which no link can name.
    """

    def __init__(self, store: Store, settings: RunSettings) -> None:
        self._store, self._format = store, ARCHIVES.get(settings.output)
        self.in_archives = self._format is not None
        self._open: LRUCache[int, Archive] = LRUCache(_ARCHIVES_OPEN)
        self._lock = threading.Lock()

    @classmethod
    def of(cls, store: Store) -> RunImages:
        """Return what reads the images of the run that `store` records; without a run.json they are files."""
        record = find_record(store)
        return cls(store, RunSettings({}) if record is None else record.settings)

    def get(self, key: str) -> bytes:
        """Return the image at a key, as the column image_file has it.

        Raises:
            ObjectNotFoundError: It is not there.
            StorageError: It cannot be read.
        """
        found = None if self._format is None else RunLayout.archive_and_member(key)
        if found is None:
            return self._store.get(key)
        shard, _, member = found
        return self.archive(shard).get(member)

    def archive(self, shard: int) -> Archive:
        """Return the archive of a shard of the table."""
        assert self._format is not None
        with self._lock:
            if shard not in self._open:
                key = RunLayout.archive(shard, self._format.suffix)
                self._open[shard] = self._format.open(self._store, key, lambda: published_members(self._store, shard))
            return self._open[shard]

    def file_key(self, key: str) -> str:
        """Return the key that the image at `key` would have as a file: animations are named after it."""
        return unarchived_key(key) if self.in_archives else key


def published_members(store: Store, shard: int) -> Members:
    """Return what the archive of a shard must hold, by the rows of the table."""
    groups = RowGroups(store, RunLayout.shard(shard), advice="run i2s-batch verify")
    return Members.of(groups.read(columns_read(groups.names)))
