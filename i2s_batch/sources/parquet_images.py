"""Finds the images in the rows of a Parquet file, as Hugging Face and img2dataset write them, and reads one of them.

A column of images is a struct with the field `bytes`, beside which `path` may name the image, or plain binary.
"""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from typing import BinaryIO, cast

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from cachetools import LRUCache

from i2s_batch.errors import ObjectNotFoundError, PictureError, SourceError
from i2s_batch.parquet.arrow_files import lent_to_arrow
from i2s_batch.sources.block_file import open_blocks
from i2s_batch.sources.list_rows import one_line
from i2s_batch.sources.members import PARQUET, Member, plain_name
from i2s_batch.sources.names import path_of_uri
from i2s_batch.storage import is_remote, open_store, split_url

# Names that a binary column has when it holds images.
USUAL = ("image", "img", "jpg", "jpeg", "png", "webp", "picture", "photo", "image_bytes", "bytes", "content")
FAULTS = (pa.ArrowException, OSError, ValueError)
_BYTES, _PATH = "bytes", "path"
_BUFFER_BYTES = 4 << 20  # read at a time of a column, so that a large row group is never in memory whole
_ROWS_AT_ONCE = 16
_CACHE_BYTES = 128 << 20
_SAME_VERSION_S = 10.0  # how long an object of a store is taken to be the same


@dataclass(frozen=True)
class ImageColumn:
    """Describes the column of a file that holds images: its index and name, and whether it has paths beside."""

    index: int
    name: str
    is_struct: bool
    has_paths: bool

    @property
    def leaf(self) -> str:
        """Return the name by which Parquet knows the bytes."""
        return f"{self.name}.{_BYTES}" if self.is_struct else self.name


def image_column(source: str, schema: pa.Schema, given: str | None) -> ImageColumn | None:
    """Return the column of images; None if there is none.

    It is the one that is `given`; else the only struct with bytes, or the first binary column with a usual name; else
    the only binary column, where nothing else can be an image.

    Raises:
        SourceError: There is no column of that name, or it holds no images, or which one is meant is not clear.
    """
    columns = [found for index, field in enumerate(schema) if (found := as_images(index, field)) is not None]
    if given is not None:
        if given not in schema.names:
            raise SourceError(f"{source!r} has no column {given!r}; it has {', '.join(schema.names)}")
        wanted = next((column for column in columns if column.name == given), None)
        if wanted is None:
            kind = schema.field(given).type
            raise SourceError(f"{source!r}: column {given!r} holds {kind}; it must hold images, as bytes")
        return wanted
    structs = [column for column in columns if column.is_struct]
    usual = [column for name in USUAL for column in columns if column.name.lower() == name]
    meant = structs or usual[:1] or columns
    if len(meant) > 1:
        named = [column for column in usual if column in meant]
        if len(named) != 1:
            names = ", ".join(column.name for column in meant)
            raise SourceError(f"{source!r} has several columns of bytes, {names}; choose one with --image-column NAME")
        meant = named
    return meant[0] if meant else None


def holds_surely_images(column: ImageColumn | None) -> bool:
    """Return whether a column holds images by its type or name, also in a file that has a column of paths."""
    return column is not None and (column.is_struct or column.name.lower() in USUAL)


def as_images(index: int, field: pa.Field) -> ImageColumn | None:
    """Return a column as one of images, if its type is that of bytes, or of a struct with bytes."""
    kind = field.type.storage_type if isinstance(field.type, pa.BaseExtensionType) else field.type
    if not pa.types.is_struct(kind):
        return ImageColumn(index, field.name, False, False) if _is_binary(kind) else None
    types = {kind.field(number).name: kind.field(number).type for number in range(kind.num_fields)}
    if not _is_binary(types.get(_BYTES, pa.null())):
        return None
    path = types.get(_PATH, pa.null())
    return ImageColumn(index, field.name, True, pa.types.is_string(path) or pa.types.is_large_string(path))


def _is_binary(kind: pa.DataType) -> bool:
    return bool(pa.types.is_binary(kind) or pa.types.is_large_binary(kind))


def open_parquet(uri: str) -> pq.ParquetFile:
    """Open a Parquet file so that its columns are read in parts; raise one of FAULTS or StorageError."""
    file = lent_to_arrow(cast("BinaryIO", open_blocks(uri)))
    return pq.ParquetFile(file, buffer_size=_BUFFER_BYTES, pre_buffer=False)


def names_of_rows(file: pq.ParquetFile, column: ImageColumn) -> pa.ChunkedArray | None:
    """Return the names of all rows by the paths beside the images; None where they do not differ, or are not known."""
    if not column.has_paths:
        return None
    paths = file.read([f"{column.name}.{_PATH}"], use_threads=False)[column.name]
    return distinct_names(pc.struct_field(paths, _PATH))


def distinct_names(names: pa.ChunkedArray) -> pa.ChunkedArray | None:
    """Return the names; None where they do not differ, or there is none."""
    given = len(names) - names.null_count
    return names if given and pc.count_distinct(names, mode="only_valid").as_py() == given else None


def members_of(container: str, file: pq.ParquetFile, column: ImageColumn) -> Iterator[Member]:
    """Yield every row of a file as a member, named by the path beside the image, or else by its number."""
    names, number = names_of_rows(file, column), 0
    for group in range(file.num_row_groups):
        for index in range(file.metadata.row_group(group).num_rows):
            name = None if names is None else names[number].as_py()
            plain = plain_name(name) if name else f"{number:08d}"
            yield Member(container, PARQUET, (group, index, column.index), plain)
            number += 1


class _Groups:
    """Reads images of a row group from its beginning on, some at a time, and keeps the most recent ones."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._parts: LRUCache[tuple[str, str, int, int, int], list[bytes | None]] = LRUCache(
            _CACHE_BYTES, getsizeof=lambda part: min(_CACHE_BYTES, sum(len(each or b"") for each in part) + 1)
        )
        self._reading: tuple[tuple[str, str, int, int], int, Iterator[pa.RecordBatch]] | None = None

    def image(self, member: Member, version: str) -> bytes | None:
        """Return the bytes of a row; None for null. Raises one of FAULTS, or LookupError for a row that is none."""
        group, index, column = member.numbers
        key, part = (member.container, version, group, column), index // _ROWS_AT_ONCE
        with self._lock:
            while (found := self._parts.get((*key, part))) is None:
                if self._reading is None or self._reading[0] != key or self._reading[1] > part:
                    self._reading = (key, 0, _batches(member.container, group, column))
                _, number, batches = self._reading
                batch = next(batches, None)
                if batch is None:
                    raise IndexError(f"row group {group} has no row {index}")
                self._parts[(*key, number)] = _images(batch)
                self._reading = (key, number + 1, batches)
            return found[index % _ROWS_AT_ONCE]


def _batches(container: str, group: int, column: int) -> Iterator[pa.RecordBatch]:
    file = open_parquet(container)
    if group >= file.num_row_groups or column >= len(file.schema_arrow):
        raise IndexError(f"it has no row group {group} or no column {column}")
    images = as_images(column, file.schema_arrow.field(column))
    if images is None:
        raise IndexError(f"its column {file.schema_arrow.names[column]!r} holds no images")
    return cast(
        "Iterator[pa.RecordBatch]",
        file.iter_batches(_ROWS_AT_ONCE, row_groups=[group], columns=[images.leaf], use_threads=False),
    )


def _images(batch: pa.RecordBatch) -> list[bytes | None]:
    column = batch.column(0)
    column = column.storage if isinstance(column, pa.ExtensionArray) else column
    if pa.types.is_struct(column.type):
        column = pc.struct_field(column, _BYTES)
    return cast("list[bytes | None]", column.to_pylist())


_groups = _Groups()


def read_parquet_image(member: Member) -> bytes:
    """Return the bytes of the image in a row. Neighbours are read together.

    Raises:
        PictureError: There is no such row, or it is null, or the file is damaged.
        StorageError: The file cannot be read.
    """
    try:
        data = _groups.image(member, _version(member.container))
    except (*FAULTS, LookupError) as error:
        raise PictureError(f"{member.container!r} is damaged, or was written again: {one_line(error)}") from error
    if data is None:
        raise PictureError(f"{member.name!r} in {member.container!r} is null")
    return data


def _version(container: str) -> str:
    """Return what changes when a file does."""
    if is_remote(container):
        return _etag(container, int(time.monotonic() / _SAME_VERSION_S))
    try:
        info = os.stat(path_of_uri(container))  # noqa: PTH116
    except OSError as error:
        raise ObjectNotFoundError(f"{container!r}: {error.strerror}") from error
    return f"{info.st_dev} {info.st_ino} {info.st_size} {info.st_mtime_ns}"


@lru_cache(64)
def _etag(container: str, period: int) -> str:
    root, key = split_url(container)
    return open_store(root).etag(key)
