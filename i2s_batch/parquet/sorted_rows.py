"""Sorts, merges, compares and spills more rows than memory should hold, by image_id, in temporary files.

The order of ids is that of their UTF-8 bytes, which is Python's and Arrow's too. Tables that come from here hold some
thousand rows each, however many there are.
"""

from __future__ import annotations

import shutil
import tempfile
import weakref
from collections.abc import Iterable, Iterator, Sequence
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from i2s_batch.errors import StorageError
from i2s_batch.parquet.row_groups import RowGroups
from i2s_batch.storage.files import local_error
from i2s_batch.storage.local import LocalStore

RUN_BYTES = 16 << 20  # rows that are sorted in memory at once
PART_ROWS = 1024  # rows of each run that are in memory while the runs are merged
GROUP_ROWS = 10_000  # rows of a temporary file that are read at once
_FILE = "rows.parquet"


class Scratch:
    """Holds a temporary folder, which is removed with this object or with the process."""

    def __init__(self) -> None:
        try:
            self.path = Path(tempfile.mkdtemp(prefix="i2s-rows-"))
        except OSError as error:
            raise StorageError(
                f"no temporary folder can be made ({error.strerror}); set TMPDIR to a folder that can be written"
            ) from error
        weakref.finalize(self, shutil.rmtree, self.path, ignore_errors=True)

    @contextmanager
    def errors_named(self) -> Iterator[None]:
        """Raise what goes wrong with its files as one line that names the folder."""
        try:
            yield
        except OSError as error:
            raise local_error(error, str(self.path)) from error
        except pa.ArrowException as error:
            raise StorageError(f"a column cannot be written as Parquet ({' '.join(str(error).split())})") from error

    def write_parquet(self, name: str, groups: Iterable[pa.Table], schema: pa.Schema, **options: Any) -> Path:
        """Write a file of row groups and return its path; `options` as pyarrow's ParquetWriter takes them."""
        path = self.path / name
        with self.errors_named():
            writer = pq.ParquetWriter(path, schema, **options)
        with closing(writer):  # also when `groups` raises, whose errors are not about these files
            for group in groups:
                with self.errors_named():
                    writer.write_table(group)
            with self.errors_named():
                writer.close()
        return path


class SpilledRows(RowGroups):
    """Reads rows in a temporary file."""

    def __init__(self, scratch: Scratch) -> None:
        super().__init__(LocalStore(str(scratch.path)), _FILE)
        self._scratch = scratch  # its folder exists as long as this reader


def spilled(parts: Iterable[pa.Table], schema: pa.Schema) -> SpilledRows:
    """Write the rows of `parts` into a temporary file, in the same order, and return its reader."""
    scratch = Scratch()
    scratch.write_parquet(_FILE, in_groups(parts, GROUP_ROWS), schema, compression="lz4", use_dictionary=False)
    return SpilledRows(scratch)


def sorted_rows(parts: Iterable[pa.Table], schema: pa.Schema) -> SpilledRows:
    """Return the rows of `parts` sorted by image_id; rows of one id keep the order in which they come."""
    scratch = Scratch()
    runs = [_write_run(scratch, f"{number}.arrow", run) for number, run in enumerate(_runs(parts))]
    return spilled(merged([_read_run(path) for path in runs]), schema)


def _runs(parts: Iterable[pa.Table]) -> Iterator[pa.Table]:
    """Yield as many rows as are sorted in memory at once, sorted."""
    waiting, size = [], 0
    for part in parts:
        waiting.append(part)
        size += part.nbytes
        if size >= RUN_BYTES:
            yield _in_order(waiting)
            waiting, size = [], 0
    if waiting:
        yield _in_order(waiting)


def _in_order(parts: Sequence[pa.Table]) -> pa.Table:
    """Return the rows of some tables by image_id; the sort is stable."""
    rows = pa.concat_tables(parts).combine_chunks()
    return rows.take(pc.sort_indices(rows["image_id"]))


def _write_run(scratch: Scratch, name: str, rows: pa.Table) -> Path:
    path = scratch.path / name
    with scratch.errors_named(), pa.OSFile(str(path), "wb") as sink, pa.ipc.new_file(sink, rows.schema) as writer:
        writer.write_table(rows, max_chunksize=PART_ROWS)
    return path


def _read_run(path: Path) -> Iterator[pa.Table]:
    with pa.OSFile(str(path)) as source, pa.ipc.open_file(source) as reader:
        for number in range(reader.num_record_batches):
            yield pa.Table.from_batches([reader.get_batch(number)])


class _Head:
    """Holds the rows at the front of a sorted stream that were not taken yet."""

    def __init__(self, stream: Iterator[pa.Table]) -> None:
        self._stream = stream
        self._rows: pa.Table | None = None

    def filled(self) -> bool:
        """Read on if no rows are left; return whether there are any."""
        while self._rows is None or not len(self._rows):
            self._rows = next(self._stream, None)
            if self._rows is None:
                return False
        ids = self._rows["image_id"]
        self.first, self.last = ids[0].as_py(), ids[-1].as_py()
        return True

    def take(self, last: str) -> pa.Table:
        """Remove and return the rows up to the id `last`."""
        assert self._rows is not None
        whole, count = self._rows, len(self._rows)
        if last < self.last:
            count = pc.sum(pc.less_equal(whole["image_id"], last)).as_py()
        self._rows = whole.slice(count)
        return whole.slice(0, count)


def merged(streams: Sequence[Iterator[pa.Table]]) -> Iterator[pa.Table]:
    """Yield the rows of streams that are sorted by image_id each, sorted.

    Rows of one id come together, in one table if no stream holds it twice, and those of the stream that is named first
    come first.
    """
    heads = [head for head in map(_Head, streams) if head.filled()]
    while heads:
        last = min(head.last for head in heads)
        parts = [head.take(last) for head in heads if head.first <= last]
        yield parts[0] if len(parts) == 1 else _in_order(parts)
        heads = [head for head in heads if head.filled()]


def in_groups(parts: Iterable[pa.Table], rows: int) -> Iterator[pa.Table]:
    """Yield the rows of `parts` in tables of `rows` each, the last of fewer."""
    waiting: list[pa.Table] = []
    for part in parts:
        waiting.append(part)
        while sum(map(len, waiting)) >= rows:
            whole = pa.concat_tables(waiting)
            yield whole.slice(0, rows)
            waiting = [whole.slice(rows)]
    if sum(map(len, waiting)):
        yield pa.concat_tables(waiting)


class SortedIds:
    """Finds which ids a sorted stream of rows holds, asked from the smallest to the largest; reads the stream once."""

    def __init__(self, parts: Iterable[pa.Table]) -> None:
        self._parts = iter(parts)
        self._ids = self._next()

    def contain(self, ids: pa.ChunkedArray) -> np.ndarray:
        """Return which of some sorted ids the stream holds, bool [ids]; none may be smaller than one asked before."""
        found = np.zeros(len(ids), bool)
        if not len(ids):
            return found
        last = ids[-1].as_py()
        while self._ids is not None:
            found |= pc.is_in(ids, self._ids).to_numpy()
            if self._ids[-1].as_py() >= last:
                break
            self._ids = self._next()
        return found

    def _next(self) -> pa.Array | None:
        for part in self._parts:
            if len(part):
                return part["image_id"].combine_chunks()
        return None
