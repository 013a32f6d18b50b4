"""Rows sorted, merged and compared in parts: the same as in memory, which stays flat."""

from __future__ import annotations

import gc
import itertools
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from i2s_batch.errors import StorageError
from i2s_batch.parquet import sorted_rows as module
from i2s_batch.parquet.sorted_rows import SortedIds, in_groups, merged, sorted_rows, spilled

LETTERS = "bé猫😀a\U0010ffff"


@pytest.fixture
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    """Many runs, parts and groups of few rows."""
    monkeypatch.setattr(module, "RUN_BYTES", 400)
    monkeypatch.setattr(module, "PART_ROWS", 3)
    monkeypatch.setattr(module, "GROUP_ROWS", 10)


def numbered(ids: list[str]) -> pa.Table:
    """Rows that tell in which order they came."""
    return pa.table({"image_id": ids, "number": pa.array(range(len(ids)), pa.int64())})


def parts(rows: pa.Table, size: int) -> Iterator[pa.Table]:
    return (rows.slice(start, size) for start in range(0, len(rows), size))


@pytest.mark.parametrize("size", [1, 4, 7, 1000])
@pytest.mark.parametrize("order", ["sorted", "reversed", "shuffled"])
@pytest.mark.usefixtures("small")
def test_the_order_is_that_of_utf8_and_stable(order: str, size: int) -> None:
    ids = sorted(["".join(letters) for letters in itertools.product(LETTERS, repeat=3)] * 2, key=str.encode)
    if order != "sorted":
        ids = ids[::-1] if order == "reversed" else np.random.default_rng(0).permutation(ids).tolist()
    rows = numbered(ids)
    found = sorted_rows(parts(rows, size), rows.schema)
    places = sorted(range(len(ids)), key=lambda place: ids[place].encode())
    assert found.num_rows == len(ids) and found.read().equals(rows.take(places))
    assert [len(group) for group in found.parts()][:-1] == [10] * (len(ids) // 10 - (len(ids) % 10 == 0))


def test_nothing_is_sorted_too() -> None:
    schema = numbered([]).schema
    assert sorted_rows(iter([]), schema).num_rows == 0
    assert sorted_rows(iter([schema.empty_table()]), schema).read().equals(schema.empty_table())


def test_streams_are_merged_and_of_one_id_the_first_stream_comes_first() -> None:
    streams = [["a", "c", "e", "x"], ["b", "c", "x", "z"], [], ["c"]]
    tables = [pa.table({"image_id": pa.array(ids, pa.string()), "of": [n] * len(ids)}) for n, ids in enumerate(streams)]
    found = list(merged([parts(table, 2) for table in tables]))
    rows = [tuple(row.values()) for table in found for row in table.to_pylist()]
    assert rows == sorted((image_id, n) for n, ids in enumerate(streams) for image_id in ids)
    held = [set(table["image_id"].to_pylist()) for table in found]
    assert all(a.isdisjoint(b) for a, b in itertools.combinations(held, 2)), "one id, one table"


def test_groups_are_even() -> None:
    rows = numbered([f"{n:02d}" for n in range(23)])
    for size in (1, 5, 8, 23, 100):
        groups = list(in_groups(parts(rows, size), 8))
        assert [len(group) for group in groups] == [8, 8, 7] and pa.concat_tables(groups).equals(rows)


@pytest.mark.parametrize("size", [1, 3, 50])
def test_ids_are_found_in_one_pass(size: int) -> None:
    stream = np.random.default_rng(size)
    held, asked = (sorted({f"{n:03d}" for n in stream.integers(0, 200, 90)}) for _ in range(2))
    there = SortedIds(parts(numbered(held), size))
    found = [flag for part in parts(numbered(asked), 7) for flag in there.contain(part["image_id"])]
    assert found == [image_id in held for image_id in asked]
    assert SortedIds(iter([])).contain(numbered(["a"])["image_id"]).tolist() == [False]


def test_temporary_files_go_with_who_reads_them(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module.tempfile, "tempdir", str(tmp_path))
    rows = numbered(["b", "a"])
    found = sorted_rows([rows], rows.schema)
    assert len(list(tmp_path.iterdir())) == 1, "only the result"
    del found
    gc.collect()
    assert not list(tmp_path.iterdir())
    strange = pa.table({"image_id": ["a"], "x": pa.array([{}], pa.struct([]))})
    with pytest.raises(StorageError, match=r"a column cannot be written as Parquet .*'x'"):
        spilled([strange], strange.schema)
    monkeypatch.setattr(module.tempfile, "tempdir", str(tmp_path / "missing"))
    with pytest.raises(StorageError, match=r"no temporary folder can be made .*; set TMPDIR"):
        spilled([rows], rows.schema)


def _peak(count: int) -> int:
    """Bytes that Arrow held at most while `count` rows, in no order, were sorted."""
    stream = np.random.default_rng(1)
    schema = pa.schema([("image_id", pa.string()), ("uri", pa.string())])

    def rows() -> Iterator[pa.Table]:
        nonlocal most
        for _ in range(count // 1000):
            ids = [f"{number:016x}.png" for number in stream.integers(0, 1 << 62, 1000)]
            most = max(most, pa.total_allocated_bytes() - before)
            yield pa.table([ids, [f"s3://bucket/{image_id}" for image_id in ids]], schema=schema)

    before, most = pa.total_allocated_bytes(), 0
    found = sorted_rows(rows(), schema)
    last = ""
    for part in found.parts():
        most = max(most, pa.total_allocated_bytes() - before)
        assert part["image_id"][0].as_py() > last
        last = part["image_id"][-1].as_py()
    assert found.num_rows == count
    return most


def test_memory_does_not_grow_with_the_rows(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "RUN_BYTES", 1 << 18)
    monkeypatch.setattr(module, "PART_ROWS", 200)
    monkeypatch.setattr(module, "GROUP_ROWS", 1000)
    few, many = _peak(10_000), _peak(60_000)
    assert many < few + (1 << 19), "50,000 rows more, of 3.3 MB"
