"""Lists the images in the rows of Parquet or Arrow files, with their other columns."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import islice
from typing import Protocol

import pyarrow as pa
import pyarrow.parquet as pq

from i2s_batch.errors import SourceError
from i2s_batch.parquet.sorted_rows import SpilledRows, sorted_rows
from i2s_batch.sources.arrow_images import is_arrow_table, opened_arrow
from i2s_batch.sources.column_types import check_column, converted, plain_type
from i2s_batch.sources.items import IMAGE, Item, image_table
from i2s_batch.sources.list_rows import extra_names, one_line
from i2s_batch.sources.members import Member
from i2s_batch.sources.parquet_images import (
    FAULTS,
    ImageColumn,
    as_images,
    image_column,
    members_of,
    open_parquet,
)

_ROWS_AT_ONCE = 4096


def hold_images(tables: Sequence[Item], given: str | None) -> bool:
    """Return whether tables have a column of images: the first that can be read decides."""
    for _, uri in tables:
        try:
            with _opened(uri) as table:
                return image_column(uri, table.schema, given) is not None
        except FAULTS:
            continue
    return False


class _Table(Protocol):
    """Reads a file with images."""

    schema: pa.Schema

    def parts(self, images: ImageColumn, names: Sequence[str]) -> Iterator[tuple[list[Member], list[pa.Array]]]:
        """Yield the images of some rows, and the columns `names` of these."""


class _ParquetTable:
    """Reads a Parquet file with images."""

    def __init__(self, uri: str, file: pq.ParquetFile) -> None:
        self._uri, self._file = uri, file
        self.schema: pa.Schema = file.schema_arrow

    def parts(self, images: ImageColumn, names: Sequence[str]) -> Iterator[tuple[list[Member], list[pa.Array]]]:
        """Yield the images of some rows, and the columns `names` of these."""
        members = members_of(self._uri, self._file, images)
        if not names:
            while some := list(islice(members, _ROWS_AT_ONCE)):
                yield some, []
            return
        for batch in self._file.iter_batches(_ROWS_AT_ONCE, columns=list(names), use_threads=False):
            yield list(islice(members, len(batch))), [batch.column(name) for name in names]


@contextmanager
def _opened(uri: str) -> Iterator[_Table]:
    """Open a file with images; raise one of FAULTS or StorageError."""
    if is_arrow_table(uri):
        with opened_arrow(uri) as table:
            yield table
    else:
        with open_parquet(uri) as file:
            yield _ParquetTable(uri, file)


@dataclass(frozen=True)
class _Columns:
    """Describes a file's columns: that of the images, and the others by name in the file, each with its name here."""

    images: ImageColumn
    names: tuple[str, ...]
    schema: pa.Schema


def image_table_parts(
    source: str, tables: Sequence[Item], given: str | None, report: Callable[[str], None]
) -> SpilledRows:
    """Return the images of some files, sorted by their ids.

    A file that cannot be read is an item itself, so that it becomes a row.

    Raises:
        SourceError: Files differ in their columns.
    """
    found = ((uri, _columns(source, uri, given)) for _, uri in tables)
    sample, first = next((uri, columns) for uri, columns in found if columns is not None)
    for name in _left_out(sample, first):
        report(f"the column {name!r} of {source!r} holds bytes; it is left out")
    schema = pa.schema([*IMAGE, *first.schema])

    def parts() -> Iterator[pa.Table]:
        for image_id, uri in tables:
            columns = _columns(source, uri, given)
            if columns is None:
                damaged = image_table([(image_id, Member(uri, "damaged", (0,), "").uri)])
                nothing = [pa.nulls(1, kind) for kind in first.schema.types]
                yield pa.table([*damaged.columns, *nothing], schema=schema)
                continue
            if columns.schema != first.schema:
                raise SourceError(f"{uri!r} has other columns than {sample!r}; give files of the same columns")
            yield from _rows(source, (image_id, uri), columns, schema)

    return sorted_rows(parts(), schema)


def _columns(source: str, uri: str, given: str | None) -> _Columns | None:
    """Return the columns of a file; None if it cannot be read."""
    try:
        with _opened(uri) as table:
            fields = table.schema
    except FAULTS:
        return None
    images = image_column(uri, fields, given)
    if images is None:
        raise SourceError(f"{uri!r} has no column of images; it has {', '.join(fields.names)}")
    plain = [index for index, each in enumerate(fields) if as_images(index, each) is None]
    names = [fields.names[index] for index in plain]
    extra = extra_names(source, names, -1)
    kinds = [(names[index], name, plain_type(fields.field(plain[index]).type)) for index, name in extra.items()]
    for name, _, kind in kinds:
        check_column(source, name, kind)
    return _Columns(images, tuple(name for name, *_ in kinds), pa.schema([(new, kind) for _, new, kind in kinds]))


def _left_out(uri: str, columns: _Columns) -> list[str]:
    with _opened(uri) as table:
        fields = list(enumerate(table.schema))
    return [each.name for index, each in fields if index != columns.images.index and as_images(index, each) is not None]


def _rows(source: str, table: Item, columns: _Columns, schema: pa.Schema) -> Iterator[pa.Table]:
    image_id, uri = table
    try:
        with _opened(uri) as file:
            for members, arrays in file.parts(columns.images, columns.names):
                items = [(f"{image_id}/{each.name}" if each.name else image_id, each.uri) for each in members]
                kinds = zip(arrays, columns.schema.types, strict=True)
                carried = pa.table([converted(array, kind) for array, kind in kinds], schema=columns.schema)
                carried.validate(full=True)  # text may be any bytes
                yield pa.table([*image_table(items).columns, *carried.columns], schema=schema)
    except FAULTS as error:
        raise SourceError(f"{uri!r} is no readable file of images: {one_line(error)}") from error
