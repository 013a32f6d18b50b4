"""Columns of a Parquet list: any name, and any type that a table can hold."""

from __future__ import annotations

from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from i2s_batch.errors import SourceError
from i2s_batch.sources.source import list_images


def test_columns_of_any_name_and_type_are_carried(tmp_path: Path) -> None:
    struct = pa.struct([("a", pa.int64()), ("b", pa.string())])
    columns = {
        "_after": pa.array([1, 0]),
        "_": pa.array(["x", None]),
        "duration": pa.array([1, 2], pa.duration("us")),
        "view": pa.array(["x", "y"], pa.string_view()),
        "bytes": pa.array([b"\xff", None], pa.binary_view()),
        "half": pa.array([1, 2], pa.float16()),
        "halves": pa.array([[0.5], []], pa.list_(pa.float16())),
        "struct": pa.array([{"a": 1, "b": "x"}, None], struct),
    }
    pq.write_table(pa.table({"path": ["a", "b"]} | columns), tmp_path / "l.parquet")
    found = list_images(str(tmp_path / "l.parquet")).read()
    kinds = {name: found.schema.field(name).type for name in columns}
    assert kinds["duration"] == pa.duration("us") and kinds["struct"] == struct
    assert (kinds["view"], kinds["bytes"], kinds["half"]) == (pa.string(), pa.binary(), pa.float32())
    assert kinds["halves"].value_type == pa.float32()
    assert found.select(list(columns)).to_pylist() == pa.table(columns).to_pylist()


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
