"""Registers the formats of archives, by the value of --output: a new one is a new file and a line here.

`archive_key("webdataset", 3)` is pictures/shard-00003.tar.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass

import pyarrow as pa

from i2s_batch.output.archives import parquet_archive, tar_archive
from i2s_batch.output.archives.members import Archive, Members
from i2s_batch.output.archives.names import member_name
from i2s_batch.output.layout import RunLayout
from i2s_batch.storage import Store


@dataclass(frozen=True)
class ArchiveFormat:
    """Describes a format.

    Attributes:
        suffix: The end of its files' names.
        chunks: Yields the bytes of an archive of some images; the same bytes for the same images.
        open: Returns the reader of the archive at a key of a store, whose members the function lists.
    """

    suffix: str
    chunks: Callable[[Members, Iterable[bytes]], Iterator[bytes]]
    open: Callable[[Store, str, Callable[[], Members]], Archive]


ARCHIVES: Mapping[str, ArchiveFormat] = {
    "webdataset": ArchiveFormat(tar_archive.SUFFIX, tar_archive.tar_chunks, tar_archive.TarArchive),
    "parquet": ArchiveFormat(parquet_archive.SUFFIX, parquet_archive.parquet_chunks, parquet_archive.ParquetArchive),
}


def archive_key(output: str, shard: int) -> str:
    """Return the key of the archive with the images of a shard."""
    return RunLayout.archive(shard, ARCHIVES[output].suffix)


def archived_keys(files: pa.ChunkedArray, output: str, shard_size: int) -> pa.ChunkedArray:
    """Return what names the images of a whole plan in its archives, by the keys that they would have as files."""
    chunks, start = [], 0
    for chunk in files.chunks:
        names = (member_name(key.removeprefix(RunLayout.pictures_prefix)) for key in chunk.to_pylist())
        archives = (archive_key(output, index // shard_size) for index in range(start, start + len(chunk)))
        chunks.append(pa.array(map(RunLayout.archived, archives, names), pa.string()))
        start += len(chunk)
    return pa.chunked_array(chunks, pa.string())
