"""Writes the result of a query as text or Parquet, row by row as it comes."""

from __future__ import annotations

import base64
import csv
import datetime
import decimal
import json
import math
from collections.abc import Iterable, Iterator
from typing import Any, BinaryIO, TextIO

import pyarrow as pa
import pyarrow.parquet as pq

from i2s_batch.errors import QueryError
from i2s_batch.schema.codec import ROW_GROUP_ROWS, ZSTD_LEVEL


def limited(batches: Iterable[pa.RecordBatch], limit: int | None) -> Iterator[pa.RecordBatch]:
    """Yield the first `limit` rows; None for all."""
    left = limit
    for batch in batches:
        if left is not None and len(batch) >= left:
            yield batch.slice(0, left)
            return
        yield batch
        left = None if left is None else left - len(batch)


def write_csv(schema: pa.Schema, batches: Iterable[pa.RecordBatch], file: TextIO) -> None:
    """Write CSV with a header; a null is empty, a list is JSON."""
    writer = csv.writer(file, lineterminator="\n")
    writer.writerow(schema.names)
    for batch in batches:
        writer.writerows([_csv_cell(value) for value in row] for row in _rows(batch))


def write_json(schema: pa.Schema, batches: Iterable[pa.RecordBatch], file: TextIO) -> None:
    """Write a JSON array with an object a row. JSON has no infinity and no NaN: they become null."""
    between = "[\n"
    for batch in batches:
        for row in _rows(batch):
            file.write(between + json.dumps(dict(zip(schema.names, map(_json_value, row), strict=True))))
            between = ",\n"
    file.write("\n]\n" if between != "[\n" else "[]\n")


def write_parquet(schema: pa.Schema, batches: Iterable[pa.RecordBatch], file: BinaryIO) -> None:
    """Write a Parquet file with the codec of the table.

    Raises:
        QueryError: A column has a type that Parquet lacks.
    """
    for field in schema:
        _check_writable(field)
    with pq.ParquetWriter(file, schema, compression="zstd", compression_level=ZSTD_LEVEL) as writer:
        for batch in batches:
            writer.write_batch(batch, row_group_size=_group_rows(schema))


def _check_writable(field: pa.Field) -> None:
    try:
        pq.ParquetWriter(pa.BufferOutputStream(), pa.schema([field])).close()
    except (pa.ArrowNotImplementedError, pa.ArrowInvalid) as error:
        # Such as an INTERVAL, to which DuckDB converts a duration too.
        raise QueryError(
            f"column {field.name!r} holds {field.type}, for which Parquet has no type; select another form of it, such "
            "as epoch(COLUMN) for the seconds of an interval, or write CSV"
        ) from error


def _group_rows(schema: pa.Schema) -> int | None:
    """Return the rows of a row group: latents are large and keep the row groups of the table."""
    return ROW_GROUP_ROWS if any(pa.types.is_fixed_size_list(field.type) for field in schema) else None


def _rows(batch: pa.RecordBatch) -> Iterator[tuple[Any, ...]]:
    return zip(*(column.to_pylist() for column in batch.columns), strict=True)


def _csv_cell(value: Any) -> Any:
    if isinstance(value, (list, dict, bytes)):
        value = _json_value(value)
        return value if isinstance(value, str) else json.dumps(value)
    return value.isoformat() if isinstance(value, datetime.datetime) else value


def _json_value(value: Any) -> Any:
    if isinstance(value, list):
        return [_json_value(item) for item in value]
    if isinstance(value, dict):
        return {str(name): _json_value(item) for name, item in value.items()}
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, decimal.Decimal):  # as DuckDB returns a sum of whole numbers
        return int(value) if value == value.to_integral_value() else float(value)
    if isinstance(value, bytes):
        return base64.b64encode(value).decode()
    return value if value is None or isinstance(value, (str, int)) else str(value)
