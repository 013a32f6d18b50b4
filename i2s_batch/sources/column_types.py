"""Decides with which type the table holds a column of a list, and which columns it cannot hold."""

from __future__ import annotations

import pyarrow as pa

from i2s_batch.errors import SourceError


def plain_type(kind: pa.DataType) -> pa.DataType:
    """Return the type that a column has in the table: the same, unless SQL or Arrow's functions have none for it."""
    if pa.types.is_dictionary(kind):
        return plain_type(kind.value_type)
    if pa.types.is_float16(kind):
        return pa.float32()
    if pa.types.is_list(kind) and pa.types.is_float16(kind.value_type):
        return pa.list_(kind.value_field.with_type(pa.float32()))
    if pa.types.is_binary_view(kind):
        return pa.binary()
    return pa.string() if pa.types.is_null(kind) or pa.types.is_string_view(kind) else kind


def check_fields(source: str, name: str, kind: pa.DataType) -> None:
    """Raise SourceError for a struct, however deep in a column, whose fields cannot be told apart."""
    fields = [kind.field(index) for index in range(kind.num_fields)]
    names = [field.name.lower() for field in fields]
    if pa.types.is_struct(kind) and len(set(names)) < len(names):
        doubled = next(one for one in names if names.count(one) > 1)
        raise SourceError(
            f"{source!r}: column {name!r} holds a struct with two fields {doubled!r} (SQL ignores case); rename one"
        )
    for field in fields:
        check_fields(source, name, field.type)
