"""Finds the images in Arrow files, as Hugging Face `datasets` keeps them: each is a range of bytes of its file.

`Dataset.save_to_disk` and the cache of `load_dataset` hold record batches that are not compressed. A file is mapped
into memory, so that of its images nothing is read but where each begins and ends.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from i2s_batch.errors import SourceError
from i2s_batch.sources.members import ARROW, Member, plain_name
from i2s_batch.sources.names import path_of_uri
from i2s_batch.sources.parquet_images import FAULTS, ImageColumn, distinct_names
from i2s_batch.storage import is_remote

SUFFIX = ".arrow"
_END = b"\xff\xff\xff\xff\x00\x00\x00\x00"  # of a stream
_FILE_MARK = b"ARROW1"  # of a file with an index of its batches; without it, it is a stream of them


def is_arrow_table(name: str) -> bool:
    """Return whether a file of this name is a part of a data set; `datasets` caches results in cache-*.arrow."""
    base = name.rpartition("/")[2].lower()
    return base.endswith(SUFFIX) and not base.startswith("cache-")


class ArrowTable:
    """Reads the images and the other columns of an Arrow file of this machine."""

    def __init__(self, uri: str, content: pa.Buffer, written_ms: int) -> None:
        self._uri, self._content, self._is_damaged = uri, content, False
        self._file = (content.size, written_ms)  # by which it is known again
        with self._opened() as reader:
            self.schema: pa.Schema = reader.schema

    @contextmanager
    def _opened(self) -> Iterator[pa.RecordBatchReader | pa.RecordBatchFileReader]:
        indexed = self._content.slice(0, len(_FILE_MARK)).to_pybytes() == _FILE_MARK
        with (pa.ipc.open_file if indexed else pa.ipc.open_stream)(pa.BufferReader(self._content)) as reader:
            yield reader

    def _batches(self) -> Iterator[pa.RecordBatch]:
        """Yield the batches, up to the first that is damaged or cut off."""
        with self._opened() as reader:
            every = iter(reader) if isinstance(reader, pa.RecordBatchReader) else _indexed(reader)
            while True:
                try:
                    batch = next(every, None)
                    if batch is None:
                        self._is_damaged = isinstance(reader, pa.RecordBatchReader) and not self._has_end()
                        return
                    batch.validate(full=True)
                except FAULTS:
                    self._is_damaged = True
                    return
                yield batch

    def _has_end(self) -> bool:
        """Return whether a stream has its end: a writer that was killed between two batches leaves none."""
        begin, end = (self._content.slice(at, 8).to_pybytes() for at in (0, max(0, self._content.size - 8)))
        is_old = begin[:4] != _END[:4]  # as libraries before 0.15 write it
        return bool(end == _END or (is_old and end[4:] == _END[4:]))

    def parts(self, images: ImageColumn, names: Sequence[str]) -> Iterator[tuple[list[Member], list[pa.Array]]]:
        """Yield the images of some rows, and the columns `names` of these.

        What cannot be read of a damaged file is one more row, without a name.
        """
        paths, number, end = self._paths(images), 0, 0
        for batch in self._batches():
            members = []
            for start, size in self._ranges(_storage(batch.column(images.index)), images):
                name = None if paths is None else paths[number].as_py()
                numbers = (start, size, *self._file)
                members.append(Member(self._uri, ARROW, numbers, plain_name(name) if name else f"{number:08d}"))
                number, end = number + 1, max(end, start + size)
            yield members, [batch.column(name) for name in names]
        if self._is_damaged:
            nothing = [pa.nulls(1, self.schema.field(name).type) for name in names]
            yield [Member(self._uri, "damaged", (end,), "")], nothing

    def _paths(self, images: ImageColumn) -> pa.ChunkedArray | None:
        if not images.has_paths:
            return None
        parts = [pc.struct_field(_storage(batch.column(images.index)), "path") for batch in self._batches()]
        return distinct_names(pa.chunked_array(parts)) if parts else None

    def _ranges(self, column: pa.Array, images: ImageColumn) -> list[tuple[int, int]]:
        """Return the position and the size of each image in the file; the size of a null is 0."""
        values = pc.struct_field(column, "bytes") if images.is_struct else column
        _, offsets, data = values.buffers()
        if data is None or not data.size:  # all are null or empty
            return [(0, 0)] * len(values)
        first = data.address - self._content.address
        if not 0 <= first <= first + data.size <= self._content.size:
            raise SourceError(f"{self._uri!r} is compressed; write it as Parquet (Dataset.to_parquet), and give that")
        width = np.int64 if pa.types.is_large_binary(values.type) else np.int32
        edges = np.frombuffer(offsets, width)[values.offset : values.offset + len(values) + 1].astype(np.int64)
        sizes = np.where(values.is_null().to_numpy(zero_copy_only=False), 0, np.diff(edges))
        return list(zip((first + edges[:-1]).tolist(), sizes.tolist(), strict=True))


def _indexed(reader: pa.RecordBatchFileReader) -> Iterator[pa.RecordBatch]:
    return (reader.get_batch(index) for index in range(reader.num_record_batches))


def _storage(column: pa.Array) -> pa.Array:
    return column.storage if isinstance(column, pa.ExtensionArray) else column


@contextmanager
def opened_arrow(uri: str) -> Iterator[ArrowTable]:
    """Open an Arrow file; raise an ArrowException, OSError or ValueError for one that is damaged.

    Raises:
        SourceError: It lies in a store.
    """
    if is_remote(uri):
        raise SourceError(
            f"{uri!r} is an Arrow file in a store, of which all would have to be read; copy it to this machine, or "
            "write it as Parquet (Dataset.to_parquet), and give that"
        )
    path = path_of_uri(uri)
    written_ms = Path(path).stat().st_mtime_ns // 1_000_000
    with pa.memory_map(path) as mapped:
        yield ArrowTable(uri, mapped.read_buffer(), written_ms)
