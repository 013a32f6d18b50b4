"""Encodes the latent table: its Arrow schema, rows in the work log, shards as Parquet.

`latent` is one flat fixed-size list of float32, the form that every reader understands. BYTE_STREAM_SPLIT puts
the same byte of neighbouring floats next to each other, which is what lets zstd find something to save in them.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from i2s_batch.checksums import check, with_checksum
from i2s_batch.errors import DamagedError, StorageError
from i2s_batch.schema.columns import COLUMNS, SCHEMA_VERSION, STATUSES, columns_in
from i2s_batch.schema.row import Cell, Row

ROW_GROUP_ROWS = 128  # one row by id out of a sorted file: 13 ms; 143 ms at 2,000
ZSTD_LEVEL = 1

LATENT_LEAF = "latent.list.element"

_ELEMENT = "element"  # the name that Parquet gives a list's values; Arrow's own would differ after a round trip

_ARROW_TYPES = {
    "string": pa.string(),
    "int32": pa.int32(),
    "int64": pa.int64(),
    "float64": pa.float64(),
    "floats": pa.list_(pa.field(_ELEMENT, pa.float32())),
    "affine": pa.list_(pa.field(_ELEMENT, pa.float32()), 6),
    "ints": pa.list_(pa.field(_ELEMENT, pa.int32())),
    "timestamp": pa.timestamp("us", tz="UTC"),
}


def table_schema(latent_size: int, extra: Iterable[pa.Field] = (), version: int = SCHEMA_VERSION) -> pa.Schema:
    """Return the schema of a table.

    Args:
        latent_size: L * w_dim.
        extra: Columns after those of every table, such as the pass-through columns of an input list.
        version: The schema version of the table.
    """
    latent = pa.list_(pa.field(_ELEMENT, pa.float32()), latent_size)
    columns = [pa.field(c.name, latent if c.kind == "latent" else _ARROW_TYPES[c.kind]) for c in columns_in(version)]
    return pa.schema([*columns, *(pa.field(field.name, field.type) for field in extra)])


def encode_rows(rows: Sequence[Row], schema: pa.Schema) -> bytes:
    """Return rows as bytes, as `encode_cells` does, without the columns that came after the version of `schema`."""
    later = {column.name for column in COLUMNS if column.since > 1} - set(schema.names)
    cells = [{name: value for name, value in row.cells().items() if name not in later} for row in rows]
    return encode_cells(cells, schema)


def encode_cells(rows: Sequence[Mapping[str, Cell]], schema: pa.Schema) -> bytes:
    """Return rows as an Arrow IPC stream behind its checksum.

    Columns that a row lacks are null; arrays of any shape become flat lists.

    Raises:
        ValueError: A column is not in the schema, or a value does not fit it (a latent of another size).
    """
    unknown = set().union(*rows) - set(schema.names)
    if unknown:
        raise ValueError(f"no such column: {', '.join(sorted(unknown))}")
    columns = [_column([row.get(field.name) for row in rows], field) for field in schema]
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, schema) as writer:
        writer.write_batch(pa.record_batch(columns, schema=schema))
    return with_checksum(sink.getvalue().to_pybytes())


def _column(values: list[Cell], field: pa.Field) -> pa.Array:
    flat = [value.reshape(-1) if isinstance(value, np.ndarray) else value for value in values]
    try:
        return pa.array(flat, field.type)
    except (pa.ArrowInvalid, pa.ArrowTypeError, OverflowError) as error:
        raise ValueError(f"column {field.name!r} cannot hold this value: {error}") from error


def decode_rows(contents: Sequence[bytes], schema: pa.Schema) -> pa.Table:
    """Return the rows that `encode_rows` encoded, in this version or an earlier one, as one table in the order given.

    Rows of earlier versions have no checksum: everything else that can be checked of them is.

    Raises:
        DamagedError: The bytes are damaged.
        StorageError: The rows are whole and have other columns.
    """
    tables = [_decoded(content, schema) for content in contents]
    return pa.concat_tables(tables) if tables else schema.empty_table()


def _decoded(content: bytes, schema: pa.Schema) -> pa.Table:
    try:
        data, was_checked = check(content)
        with pa.ipc.open_stream(data) as reader:
            found = reader.read_all()
        if not was_checked:
            found.validate(full=True)
    except (DamagedError, pa.ArrowException, OSError, ValueError) as error:
        reason = " ".join(str(error).split())
        raise DamagedError(f"a row of the work log is damaged ({len(content)} bytes): {reason}") from error
    rows = _completed(found, schema)
    if rows is None or not len(rows):
        error_type = StorageError if was_checked else DamagedError
        raise error_type("a row of the work log has other columns than this run; use a new OUT")
    if not was_checked and not set(rows["status"].to_pylist()) <= set(STATUSES):
        raise DamagedError("a row of the work log is damaged: its status is not one of the statuses of rows")
    return rows


def _completed(rows: pa.Table, schema: pa.Schema) -> pa.Table | None:
    """Return the rows with the columns of `schema`, null where an earlier version had fewer; None for other columns."""
    if rows.schema == schema:
        return rows
    names = rows.column_names
    if "status" not in names or len(set(names)) < len(names) or not set(rows.schema) <= set(schema):
        return None
    columns = [
        rows[field.name] if field.name in rows.column_names else pa.nulls(len(rows), field.type) for field in schema
    ]
    return pa.table(columns, schema=schema)


def encode_shard(table: pa.Table, metadata: Mapping[str, str]) -> bytes:
    """Return a shard as the bytes of a Parquet file, sorted by image_id; in memory, so that it can be stored whole."""
    ordered = table.sort_by("image_id").replace_schema_metadata(dict(metadata))
    sink = pa.BufferOutputStream()
    pq.write_table(
        ordered,
        sink,
        row_group_size=ROW_GROUP_ROWS,
        compression="zstd",
        compression_level=ZSTD_LEVEL,
        # Texts repeat (status, device, ...); floats do not.
        use_dictionary=[field.name for field in ordered.schema if pa.types.is_string(field.type)],
        use_byte_stream_split=[LATENT_LEAF],
        write_page_index=True,
        write_page_checksum=True,
        sorting_columns=[pq.SortingColumn(ordered.schema.get_field_index("image_id"))],
    )
    data: bytes = sink.getvalue().to_pybytes()
    return data
