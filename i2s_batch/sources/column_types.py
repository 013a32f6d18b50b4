"""Decides with which type the table holds a column of a list, and which columns it cannot hold."""

from __future__ import annotations

import io
from collections.abc import Iterator

import pyarrow as pa
import pyarrow.parquet as pq

from i2s_batch.errors import SourceError

_MOST_DIGITS = 38  # of a decimal in SQL
_LISTS = tuple(
    kind
    for kind in (
        pa.ListType,
        pa.LargeListType,
        getattr(pa, "ListViewType", None),
        getattr(pa, "LargeListViewType", None),
    )
    if kind is not None
)


def plain_type(kind: pa.DataType) -> pa.DataType:
    """Return the type that a column has in the table: the same, unless SQL, Parquet or Arrow's functions have none."""
    if isinstance(kind, pa.BaseExtensionType):
        return plain_type(kind.storage_type)
    if pa.types.is_dictionary(kind) or _is(kind, "is_run_end_encoded"):
        return plain_type(kind.value_type)
    if pa.types.is_nested(kind):
        return _plain_nested(kind)
    return _plain_scalar(kind)


def _plain_scalar(kind: pa.DataType) -> pa.DataType:
    if pa.types.is_float16(kind):
        return pa.float32()
    if _is(kind, "is_binary_view"):
        return pa.binary()
    if pa.types.is_decimal(kind) and kind.precision <= _MOST_DIGITS:
        return pa.decimal128(kind.precision, kind.scale)
    text = (pa.types.is_null, pa.types.is_decimal, pa.types.is_interval)
    return pa.string() if _is(kind, "is_string_view") or any(test(kind) for test in text) else kind


def _plain_nested(kind: pa.DataType) -> pa.DataType:
    if pa.types.is_struct(kind):
        return pa.struct([field.with_type(plain_type(field.type)) for field in _fields(kind)])
    if pa.types.is_map(kind):
        return pa.map_(plain_type(kind.key_type), plain_type(kind.item_type))
    if isinstance(kind, pa.FixedSizeListType):
        return pa.list_(kind.value_field.with_type(plain_type(kind.value_type)), kind.list_size)
    if isinstance(kind, pa.LargeListType):
        return pa.large_list(kind.value_field.with_type(plain_type(kind.value_type)))
    if isinstance(kind, _LISTS):
        return pa.list_(kind.value_field.with_type(plain_type(kind.value_type)))
    return kind


def _is(kind: pa.DataType, test: str) -> bool:
    """Return what a test of `pyarrow.types` says, which older releases lack together with the type."""
    return hasattr(pa.types, test) and bool(getattr(pa.types, test)(kind))


def _fields(kind: pa.DataType) -> Iterator[pa.Field]:
    return (kind.field(index) for index in range(kind.num_fields))


def converted(column: pa.Array, kind: pa.DataType) -> pa.Array:
    """Return a column in the type that the table holds it with."""
    if isinstance(column, pa.ExtensionArray):
        column = column.storage
    if pa.types.is_interval(column.type) or (pa.types.is_decimal(column.type) and pa.types.is_string(kind)):
        return pa.array([None if value is None else str(value) for value in column.to_pylist()], kind)
    if column.type == kind:
        return column
    if _needs_values(column.type):
        return pa.array(column.to_pylist(), kind)
    return column.cast(kind)


def _needs_values(kind: pa.DataType) -> bool:
    """Return whether Arrow's casts do not convert a type, or convert it wrongly: list views, run-end encoding."""
    if _is(kind, "is_run_end_encoded") or _is(kind, "is_list_view") or _is(kind, "is_large_list_view"):
        return True
    return any(_needs_values(field.type) for field in _fields(kind))


def is_writable(kind: pa.DataType) -> bool:
    """Return whether a table can hold a column of this type: Parquet can, and SQL can tell its fields apart."""
    return _objection(kind) == ""


def check_column(source: str, name: str, kind: pa.DataType) -> None:
    """Raise SourceError for a column that no table can hold."""
    if objection := _objection(kind):
        raise SourceError(f"{source!r}: column {name!r} holds {objection}")


def _objection(kind: pa.DataType) -> str:
    """Return what a column of this type holds that no table can, and what to do; '' if all is well."""
    names = [field.name.lower() for field in _fields(kind)] if pa.types.is_struct(kind) else []
    if len(set(names)) < len(names):
        doubled = next(one for one in names if names.count(one) > 1)
        return f"a struct with two fields {doubled!r} (SQL ignores case); rename one"
    inner = next((found for field in _fields(kind) if (found := _objection(field.type))), "")
    if inner:
        return inner
    try:
        pq.write_table(pa.table({"column": pa.array([], kind)}), io.BytesIO())
    except (pa.ArrowException, NotImplementedError):
        return f"{kind}, which Parquet has not; write it as text"
    return ""
