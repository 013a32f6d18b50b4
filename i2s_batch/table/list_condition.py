"""Evaluates a condition in SQL on rows that are no table yet: the columns of a list that SOURCE is."""

from __future__ import annotations

from collections.abc import Callable

import duckdb
import pyarrow as pa

from i2s_batch.errors import QueryError
from i2s_batch.table.sql import check_condition, check_reads, closed_settings

_ROWS = "images"
_NUMBER = "i2s_row_number"


def list_condition(where: str) -> Callable[[pa.Table], pa.Array]:
    """Return a test of which rows fulfil `where`; a null counts as false.

    Raises:
        QueryError: It is no condition of its own, or would do more than look at one row.
    """
    check_condition(where)
    query = f"SELECT {_NUMBER} FROM {_ROWS} WHERE (\n{where}\n)"

    def fulfil(rows: pa.Table) -> pa.Array:
        numbered = rows.append_column(_NUMBER, pa.array(range(len(rows)), pa.int64()))
        with duckdb.connect(":memory:", config=closed_settings()) as connection:
            connection.register(_ROWS, numbered)
            connection.execute("SET enable_external_access = false")
            connection.execute("SET lock_configuration = true")
            try:
                check_reads(connection, query, {_ROWS}, "a condition on one row")
                found = {number for (number,) in connection.execute(query).fetchall()}
            except (duckdb.Error, pa.ArrowException) as error:
                columns = ", ".join(rows.column_names)
                reason = " ".join(str(error).partition("\n\nLINE ")[0].split())
                raise QueryError(f"--where {where!r} fails: {reason}; SOURCE has the columns {columns}") from error
        return pa.array([number in found for number in range(len(rows))], pa.bool_())

    return fulfil
