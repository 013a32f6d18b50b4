"""Lists the images in the rows of Parquet files, with their other columns."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice

import pyarrow as pa
import pyarrow.parquet as pq

from i2s_batch.errors import SourceError
from i2s_batch.parquet.sorted_rows import SpilledRows, sorted_rows
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
    """Return whether Parquet files have a column of images: the first that can be read decides."""
    for _, uri in tables:
        try:
            with open_parquet(uri) as file:
                return image_column(uri, file.schema_arrow, given) is not None
        except FAULTS:
            continue
    return False


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
        with open_parquet(uri) as file:
            fields: pa.Schema = file.schema_arrow
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
    with open_parquet(uri) as file:
        fields = list(enumerate(file.schema_arrow))
    return [each.name for index, each in fields if index != columns.images.index and as_images(index, each) is not None]


def _rows(source: str, table: Item, columns: _Columns, schema: pa.Schema) -> Iterator[pa.Table]:
    image_id, uri = table
    try:
        with open_parquet(uri) as file:
            members = members_of(uri, file, columns.images)
            for count, carried in _carried(file, columns):
                items = [(f"{image_id}/{member.name}", member.uri) for member in islice(members, count)]
                yield pa.table([*image_table(items).columns, *carried], schema=schema)
    except FAULTS as error:
        raise SourceError(f"{uri!r} is no readable Parquet file: {one_line(error)}") from error


def _carried(file: pq.ParquetFile, columns: _Columns) -> Iterator[tuple[int, list[pa.Array]]]:
    """Yield the other columns of a file, some rows at a time, with their number."""
    if not columns.names:
        total = file.metadata.num_rows
        yield from ((min(_ROWS_AT_ONCE, total - start), []) for start in range(0, total, _ROWS_AT_ONCE))
        return
    for batch in file.iter_batches(_ROWS_AT_ONCE, columns=list(columns.names), use_threads=False):
        kinds = zip(columns.names, columns.schema.types, strict=True)
        arrays = [converted(batch.column(name), kind) for name, kind in kinds]
        pa.table(arrays, schema=columns.schema).validate(full=True)  # text may be any bytes
        yield len(batch), arrays
