"""Reads lists in Parquet."""

from __future__ import annotations

from collections.abc import Iterator
from typing import BinaryIO

import pyarrow as pa
import pyarrow.parquet as pq

from i2s_batch.errors import SourceError
from i2s_batch.parquet.arrow_files import lent_to_arrow
from i2s_batch.sources.column_types import check_column, converted, plain_type
from i2s_batch.sources.list_rows import ROWS_AT_ONCE, ListRows, PathColumn, ReadList, extra_names, one_line


def read_parquet_list(source: str, file: BinaryIO, wanted: PathColumn) -> ReadList:
    """Read the rows of a Parquet file; columns of types that a table cannot hold are cast, or refused by name."""
    unreadable = f"{source!r} is no readable Parquet file"
    try:
        table = pq.ParquetFile(lent_to_arrow(file))
    except (pa.ArrowException, OSError) as error:
        raise SourceError(f"{unreadable}: {one_line(error)}") from error
    names = table.schema_arrow.names
    path_index = wanted.index(source, names)
    kind = plain_type(table.schema_arrow.field(path_index).type)
    if not (pa.types.is_string(kind) or pa.types.is_large_string(kind)):
        raise SourceError(f"{source!r}: column {names[path_index]!r} holds {kind}; it must hold paths as text")
    extra = extra_names(source, names, path_index)
    plain = {index: plain_type(table.schema_arrow.field(index).type) for index in extra}
    for index, kind in plain.items():
        check_column(source, names[index], kind)
    schema = pa.schema([(name, plain[index]) for index, name in extra.items()])

    def parts() -> Iterator[ListRows]:
        first = 1
        try:
            for batch in table.iter_batches(ROWS_AT_ONCE, use_threads=False):
                carried = [converted(batch.column(index), kind) for index, kind in plain.items()]
                positions = [f"row {number}" for number in range(first, first + len(batch))]
                first += len(batch)
                rows = pa.table(carried, schema=schema)
                rows.validate(full=True)  # text may be any bytes
                yield ListRows(batch.column(path_index).to_pylist(), positions, rows)
        except (pa.ArrowException, OSError) as error:
            raise SourceError(f"{unreadable}: {one_line(error)}") from error

    return schema, parts()
