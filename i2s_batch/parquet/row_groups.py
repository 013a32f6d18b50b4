"""Reads a Parquet file as a table of which only a few row groups are in memory at a time."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from cachetools import LRUCache

from i2s_batch.errors import StorageError
from i2s_batch.parquet.arrow_files import lent_to_arrow
from i2s_batch.storage import Store

_CACHE_BYTES = 64 << 20  # enough that reading in order, or at a few positions at once, reads each group once
_NOT_RESUMED = "this output cannot be resumed"


class ReplacedError(StorageError):
    """Reports that a file is another one now than when its footer was read."""


class RowGroupCache:
    """Keeps the most recently used row groups of any number of files. May be used by many threads."""

    def __init__(self, limit_bytes: int) -> None:
        self._groups: LRUCache[tuple[object, int], pa.Table] = LRUCache(
            limit_bytes, getsizeof=lambda rows: min(rows.nbytes, limit_bytes)
        )
        self._lock = threading.Lock()

    def get(self, file: object, group: int, read: Callable[[], pa.Table]) -> pa.Table:
        """Return a row group, from `read` if it is not cached. `file` stands for one version of one file."""
        with self._lock:
            rows = self._groups.get((file, group))
            if rows is None:
                rows = self._groups[file, group] = read()
            return rows


class RowGroups:
    """Reads the rows of the Parquet file `key`: the footer now, rows when they are asked for.

    All rows are of one version of the file. May be used by many threads.

    Raises:
        ObjectNotFoundError: There is no such file.
        StorageError: The file is damaged.
    """

    def __init__(
        self,
        store: Store,
        key: str,
        columns: Sequence[str] | None = None,
        cache: RowGroupCache | None = None,
        advice: str = _NOT_RESUMED,
    ) -> None:
        """Read the footer.

        Args:
            store: Where the file is.
            key: Its key.
            columns: The columns that `slice` reads; None for all.
            cache: A cache that several files share; None for one of this file alone.
            advice: What the user should do if the file is damaged.
        """
        self._store, self._key, self._advice = store, key, advice
        self._columns = None if columns is None else list(columns)
        self._cache = RowGroupCache(_CACHE_BYTES) if cache is None else cache
        self._version = object()
        self._metadata: pq.FileMetaData | None = None
        with self._opened() as file:
            self._metadata = file.metadata
            self.metadata: dict[bytes, bytes] = file.schema_arrow.metadata or {}
            self.schema = file.schema_arrow.remove_metadata()
            self.names: list[str] = self.schema.names  # in a damaged file they may be no text: that is reported here
            sizes = [file.metadata.row_group(group).num_rows for group in range(file.num_row_groups)]
        self._starts = np.cumsum([0, *sizes])

    @property
    def num_rows(self) -> int:
        """Return the number of rows."""
        return int(self._starts[-1])

    def slice(self, start: int, count: int) -> pa.Table:
        """Return `count` rows from `start` on, fewer at the end."""
        stop = min(start + count, self.num_rows)
        if start >= stop:
            return self.schema.empty_table().select(self._columns or self.names)
        first, last = np.searchsorted(self._starts, (start, stop - 1), side="right") - 1
        rows = pa.concat_tables([self._group(group) for group in range(first, last + 1)])
        return rows.slice(start - int(self._starts[first]), stop - start)

    def parts(self, columns: list[str] | None = None) -> Iterator[pa.Table]:
        """Yield all rows in order, a row group at a time; `columns`: None for all."""
        with self._opened() as file:
            for group in range(file.num_row_groups):
                yield file.read_row_group(group, columns, use_threads=False).replace_schema_metadata(None)

    def read(self, columns: list[str] | None = None) -> pa.Table:
        """Return all rows; `columns`: None for all."""
        with self._opened() as file:
            rows: pa.Table = file.read(columns, use_threads=False)
        return rows.replace_schema_metadata(None)

    def _group(self, group: int) -> pa.Table:
        return self._cache.get(self._version, group, lambda: self._read_group(group))

    def _read_group(self, group: int) -> pa.Table:
        with self._opened() as file:
            rows: pa.Table = file.read_row_group(group, self._columns, use_threads=False)
        return rows.replace_schema_metadata(None)

    @contextmanager
    def _opened(self) -> Iterator[pq.ParquetFile]:
        uri = self._store.uri(self._key)
        try:
            with (
                lent_to_arrow(self._store.open(self._key)) as source,
                pq.ParquetFile(source, page_checksum_verification=True) as file,
            ):
                if self._metadata is not None and not file.metadata.equals(self._metadata):
                    raise ReplacedError(f"{uri} was replaced while it was read; run the same command again")
                yield file
        except (pa.ArrowException, OSError, UnicodeDecodeError) as error:
            reason = " ".join(str(error).split())
            raise StorageError(f"{uri} is damaged ({reason}); {self._advice}") from error
