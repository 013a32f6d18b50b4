"""Finds types of columns for values of JSON, and makes columns of them."""

from __future__ import annotations

import json
from typing import Any

import pyarrow as pa

from i2s_batch.errors import SourceError
from i2s_batch.sources.column_types import is_writable
from i2s_batch.sources.list_rows import one_line

_MIXED = (pa.ArrowInvalid, pa.ArrowTypeError, OverflowError, UnicodeEncodeError)


def joined(known: pa.DataType | Exception | None, values: list[Any]) -> pa.DataType | Exception:
    """Return the type of a column that was `known` so far, with some more values; the error if there is none.

    Whether the error matters is not known before the column of paths is.
    """
    if isinstance(known, Exception):
        return known
    try:
        found = pa.array(values).type
        both = [pa.schema([("column", kind)]) for kind in (known, found) if kind is not None]
        return pa.unify_schemas(both, promote_options="permissive").field("column").type
    except _MIXED as error:
        return error


def plain_json_type(source: str, name: str, found: pa.DataType | Exception) -> pa.DataType:
    """Return the type that the table holds a column with: text for what it cannot hold; SourceError for a mixture."""
    if isinstance(found, Exception):
        raise _mixed(source, name, found) from found
    return found if is_writable(found) and not pa.types.is_null(found) else pa.string()


def converted_json(source: str, name: str, kind: pa.DataType, values: list[Any]) -> pa.Array:
    """Return values of JSON as a column; JSON text in a column of text."""
    if pa.types.is_string(kind):
        values = [value if value is None or isinstance(value, str) else json.dumps(value) for value in values]
    try:
        return pa.array(values, kind)
    except _MIXED as error:  # an integer that the column's float64 cannot hold
        raise _mixed(source, name, error) from error


def _mixed(source: str, name: str, error: Exception) -> SourceError:
    return SourceError(f"{source!r}: column {name!r} mixes types of values: {one_line(error)}")
