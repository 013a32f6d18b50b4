"""Columns of a Parquet list: any name, and any type that a table can hold."""

from __future__ import annotations

import io
import json
from decimal import Decimal
from pathlib import Path

import duckdb
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from i2s_batch.errors import SourceError
from i2s_batch.sources.column_types import converted, is_writable, plain_type
from i2s_batch.sources.source import list_images


def test_columns_of_any_name_and_type_are_carried(tmp_path: Path) -> None:
    struct = pa.struct([("a", pa.int64()), ("b", pa.string())])
    columns = {
        "_after": pa.array([1, 0]),
        "_": pa.array(["x", None]),
        "duration": pa.array([1, 2], pa.duration("us")),
        "view": pa.array(["x", "y"], pa.string_view()),
        "binary": pa.array([b"\xff", None], pa.binary_view()),
        "half": pa.array([1, 2], pa.float16()),
        "halves": pa.array([[0.5], []], pa.list_(pa.float16())),
        "struct": pa.array([{"a": 1, "b": "x"}, None], struct),
        "views": pa.array([["x"], []], pa.list_(pa.string_view())),
        "inner": pa.array([{"v": [b"x"]}, None], pa.struct([("v", pa.list_(pa.binary_view()))])),
        "map": pa.array([[("k", 0.5)], []], pa.map_(pa.string(), pa.float16())),
        "fixed": pa.array([[0.5, 1], None], pa.list_(pa.float16(), 2)),
        "empties": pa.array([[], None], pa.list_(pa.null())),
        "wide": pa.array([Decimal("1.5"), None], pa.decimal256(30, 1)),
    }
    pq.write_table(pa.table({"path": ["a", "b"]} | columns), tmp_path / "l.parquet")
    found = list_images(str(tmp_path / "l.parquet")).read()
    kinds = {name: found.schema.field(name).type for name in columns}
    assert kinds["duration"] == pa.duration("us") and kinds["struct"] == struct
    assert (kinds["view"], kinds["binary"], kinds["half"]) == (pa.string(), pa.binary(), pa.float32())
    assert kinds["halves"].value_type == pa.float32()
    assert kinds["views"].value_type == pa.string() and kinds["inner"].field(0).type.value_type == pa.binary()
    assert (kinds["map"].item_type, kinds["fixed"].value_type) == (pa.float32(), pa.float32())
    assert kinds["empties"].value_type == pa.string() and kinds["wide"] == pa.decimal128(30, 1)
    assert found.select(list(columns)).to_pylist() == pa.table(columns).to_pylist()


def test_types_with_no_counterpart_become_text_or_what_they_are_stored_as(tmp_path: Path) -> None:
    """Extension types, decimals beyond SQL's 38 digits, DuckDB's intervals and unions."""
    columns = {
        "long": pa.array([Decimal("1.5")], pa.decimal256(50, 2)),
        "uuid": pa.ExtensionArray.from_storage(pa.uuid(), pa.array([b"x" * 16], pa.binary(16))),
        "json": pa.ExtensionArray.from_storage(pa.json_(), pa.array(['{"a": 1}'])),
    }
    pq.write_table(pa.table({"path": ["a"]} | columns), tmp_path / "l.parquet")
    (row,) = list_images(str(tmp_path / "l.parquet")).read().to_pylist()
    assert (row["long"], row["uuid"], row["json"]) == ("1.50", b"x" * 16, '{"a": 1}')
    query = "SELECT 'a' AS path, INTERVAL 3 MONTH AS i, union_value(n := 2) AS u, 'x'::ENUM('x') AS e, [1]::INT[1] AS f"
    duckdb.sql(f"COPY ({query}) TO '{tmp_path}/duck.parquet'")
    found = list_images(str(tmp_path / "duck.parquet")).read()
    pq.write_table(found, tmp_path / "table.parquet")
    (row,) = duckdb.from_parquet(str(tmp_path / "table.parquet")).to_arrow_table().to_pylist()
    assert (row["u"]["n"], row["e"], row["f"], len(row["i"])) == (2, "x", [1], 12)


@pytest.mark.parametrize(
    "column",
    [
        pa.array([(1, 2, 3), None], pa.month_day_nano_interval()),
        pa.array([[1], None], pa.list_view(pa.int64())),
        pa.RunEndEncodedArray.from_arrays(pa.array([1, 2], pa.int32()), pa.array(["x", None])),
        pa.array([["x"], None], pa.list_view(pa.string_view())),
    ],
    ids=lambda column: str(column.type),
)
def test_types_that_parquet_has_not_have_one_that_it_has(column: pa.Array) -> None:
    kind = plain_type(column.type)
    assert is_writable(kind)
    plain = converted(column, kind)
    pq.write_table(pa.table({"column": plain}), io.BytesIO())
    assert plain.type == kind and plain.null_count == 1 and plain[0].as_py() is not None


def test_json_that_no_table_can_hold_becomes_text(tmp_path: Path) -> None:
    lines = [
        {"path": "a", "empty": {}, "twice": {"n": 1, "N": 2}, "deep": [{"x": {}}]},
        {"path": "b", "empty": {}, "twice": None, "deep": []},
    ]
    (tmp_path / "l.jsonl").write_text("\n".join(map(json.dumps, lines)))
    found = list_images(str(tmp_path / "l.jsonl")).read().drop_columns(["image_id", "uri"])
    pq.write_table(found, tmp_path / "table.parquet")
    assert found.to_pydict() == {
        "empty": ["{}", "{}"],
        "twice": ['{"n": 1, "N": 2}', None],
        "deep": ['[{"x": {}}]', "[]"],
    }


def test_columns_that_no_table_can_hold_are_refused_in_one_line(tmp_path: Path) -> None:
    twice = pa.StructArray.from_arrays([pa.array([1])] * 2, ["a", "A"])
    no_text = pa.Array.from_buffers(pa.string(), 1, [None, pa.py_buffer(b"\0\0\0\0\1\0\0\0"), pa.py_buffer(b"\xff")])
    for column, message in (
        (twice, "column 'x' holds a struct with two fields 'a' (SQL ignores case); rename one"),
        (pa.ListArray.from_arrays([0, 1], twice), "column 'x' holds a struct with two fields 'a'"),
        (no_text, "Invalid UTF8"),
    ):
        pq.write_table(pa.table({"path": ["a"], "x": column}), tmp_path / "l.parquet")
        with pytest.raises(SourceError) as refusal:
            list_images(str(tmp_path / "l.parquet")).read()
        assert message in str(refusal.value) and "l.parquet" in str(refusal.value) and "\n" not in str(refusal.value)
