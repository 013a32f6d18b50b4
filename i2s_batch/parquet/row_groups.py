"""A Parquet file as a table of which only what is asked for is in memory: a few row groups at a time."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from i2s_batch.errors import StorageError
from i2s_batch.parquet.arrow_files import lent_to_arrow
from i2s_batch.storage import Store

_GROUPS_KEPT = 4  # whoever goes through the rows in order, or in a few places at once, reads each group once


class RowGroups:
    """The rows of the Parquet file `key`. The footer is read now, rows when they are asked for; all of one version of
    the file. May be used by many threads.

    Raises StorageError: ObjectNotFoundError, or the file is damaged.
    """

    def __init__(self, store: Store, key: str) -> None:
        self._store, self._key = store, key
        self._metadata: pq.FileMetaData | None = None
        with self._opened() as file:
            self._metadata = file.metadata
            self.metadata: dict[bytes, bytes] = file.schema_arrow.metadata or {}
            self.schema = file.schema_arrow.remove_metadata()
            self.names: list[str] = self.schema.names  # in a damaged file they may be no text, which is told of here
            sizes = [file.metadata.row_group(group).num_rows for group in range(file.num_row_groups)]
        self._starts = np.cumsum([0, *sizes])
        self._kept: OrderedDict[int, pa.Table] = OrderedDict()
        self._lock = threading.Lock()

    @property
    def num_rows(self) -> int:
        """How many rows there are."""
        return int(self._starts[-1])

    def slice(self, start: int, count: int) -> pa.Table:
        """`count` rows from `start` on, fewer at the end."""
        stop = min(start + count, self.num_rows)
        if start >= stop:
            return self.schema.empty_table()
        first, last = np.searchsorted(self._starts, (start, stop - 1), side="right") - 1
        rows = pa.concat_tables([self._group(group) for group in range(first, last + 1)])
        return rows.slice(start - int(self._starts[first]), stop - start)

    def parts(self, columns: list[str] | None = None) -> Iterator[pa.Table]:
        """All rows in order, a row group at a time; `columns`: None for all."""
        with self._opened() as file:
            for group in range(file.num_row_groups):
                yield file.read_row_group(group, columns, use_threads=False).replace_schema_metadata(None)

    def read(self, columns: list[str] | None = None) -> pa.Table:
        """All rows; `columns`: None for all."""
        with self._opened() as file:
            rows: pa.Table = file.read(columns, use_threads=False)
        return rows.replace_schema_metadata(None)

    def _group(self, group: int) -> pa.Table:
        with self._lock:
            if group not in self._kept:
                with self._opened() as file:
                    rows = file.read_row_group(group, use_threads=False).replace_schema_metadata(None)
                self._kept[group] = rows
                if len(self._kept) > _GROUPS_KEPT:
                    self._kept.popitem(last=False)
            self._kept.move_to_end(group)
            return self._kept[group]

    @contextmanager
    def _opened(self) -> Iterator[pq.ParquetFile]:
        uri = self._store.uri(self._key)
        try:
            with (
                lent_to_arrow(self._store.open(self._key)) as source,
                pq.ParquetFile(source, page_checksum_verification=True) as file,
            ):
                if self._metadata is not None and not file.metadata.equals(self._metadata):
                    raise StorageError(f"{uri} was replaced while it was read; run the same command again")
                yield file
        except (pa.ArrowException, OSError, UnicodeDecodeError) as error:
            reason = " ".join(str(error).split())
            raise StorageError(f"{uri} is damaged ({reason}); this output cannot be resumed") from error
