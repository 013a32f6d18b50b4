"""The Parquet table: encoding as the contract says, equal values for every reader, clear errors."""

from __future__ import annotations

import datetime
import json
from pathlib import Path
from typing import Any

import duckdb
import numpy as np
import polars
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from i2s_batch.errors import StorageError
from i2s_batch.output.layout import RunLayout
from i2s_batch.schema.codec import decode_rows, encode_cells, encode_shard, table_schema
from i2s_batch.schema.columns import COLUMNS
from i2s_batch.schema.metadata import shard_metadata
from i2s_batch.storage import Store, open_store
from i2s_batch.table.arrays import read_latents
from i2s_batch.table.shards import read_table

L, W_DIM = 4, 8
SCHEMA = table_schema(L * W_DIM, [pa.field("label", pa.string()), pa.field("age", pa.int64())])
META = shard_metadata(
    latent_shape=(L, W_DIM), space="w+", generator="ab", vgg="cd", settings={"steps": 5}, code_version="0.1.0"
)
NOW = datetime.datetime(2026, 1, 2, 3, 4, 5, 678_000, tzinfo=datetime.UTC)


def latent(number: int) -> np.ndarray:
    return np.random.default_rng(number).normal(size=(L, W_DIM)).astype(np.float32)


def row(number: int) -> dict[str, Any]:
    """Picture `number`; every third is unreadable."""
    values: dict[str, Any] = {"image_id": f"{number:05d}.png", "uri": f"/p/{number:05d}.png", "attempts": 1, "age": 7}
    if number % 3 == 2:
        return values | {"status": "unreadable", "error_type": "PictureError", "error": "the file is empty"}
    return values | {
        "status": "ok", "latent": latent(number), "loss": number / 7, "loss_curve": np.array([3.5, 1.25], np.float32),
        "loss_curve_steps": [0, 5], "psnr": float("inf"), "embedded_at": NOW, "label": "q", "width": 640,
    }  # fmt: skip


def shard(numbers: range) -> bytes:
    return encode_shard(decode_rows([encode_cells([row(n)], SCHEMA) for n in reversed(numbers)], SCHEMA), META)


@pytest.fixture(params=["local", "s3"])
def out(request: pytest.FixtureRequest, tmp_path: Path) -> Store:
    """A run of 300 pictures in two shards."""
    where = str(tmp_path / "out") if request.param == "local" else f"s3://{request.getfixturevalue('s3_bucket')}/out"
    store = open_store(where)
    store.put(RunLayout.shard(0), shard(range(200)))
    store.put(RunLayout.shard(1), shard(range(200, 300)))
    return store


def test_schema_has_the_contract_columns() -> None:
    assert SCHEMA.names == [column.name for column in COLUMNS] + ["label", "age"]
    kind = SCHEMA.field("latent").type
    assert pa.types.is_fixed_size_list(kind)
    assert kind.list_size == L * W_DIM
    assert kind.value_type == pa.float32()


def test_a_row_round_trips() -> None:
    table = decode_rows([encode_cells([row(1)], SCHEMA), encode_cells([row(2)], SCHEMA)], SCHEMA)
    assert table.schema == SCHEMA
    first, second = table.to_pylist()
    np.testing.assert_array_equal(np.float32(first["latent"]).reshape(L, W_DIM), latent(1))
    assert first["embedded_at"] == NOW
    assert first["loss_curve"] == [3.5, 1.25]
    assert second["latent"] is None
    assert second["status"] == "unreadable"
    assert decode_rows([], SCHEMA).num_rows == 0


def test_a_row_that_does_not_fit_is_refused() -> None:
    with pytest.raises(ValueError, match=r"column 'latent' cannot hold this value"):
        encode_cells([{"image_id": "a", "latent": np.zeros(5, np.float32)}], SCHEMA)
    with pytest.raises(ValueError, match=r"no such column: lozz"):
        encode_cells([{"lozz": 1}], SCHEMA)


def test_a_damaged_or_foreign_row_is_an_error() -> None:
    data = encode_cells([row(1)], SCHEMA)
    for damaged in (b"", data[:100], b"no arrow at all, but text"):
        with pytest.raises(StorageError, match=r"a row of the work log is damaged"):
            decode_rows([damaged], SCHEMA)
    with pytest.raises(StorageError, match=r"other columns"):
        decode_rows([data], table_schema(L * W_DIM))


def test_encoding() -> None:
    file = pq.ParquetFile(pa.BufferReader(shard(range(300))))
    groups = [file.metadata.row_group(i) for i in range(file.metadata.num_row_groups)]
    assert [group.num_rows for group in groups] == [128, 128, 44]
    for group in groups:
        columns = {group.column(i).path_in_schema: group.column(i) for i in range(group.num_columns)}
        chunk = columns["latent.list.element"]
        assert "BYTE_STREAM_SPLIT" in chunk.encodings
        assert chunk.has_dictionary_page is False
        assert not {"PLAIN_DICTIONARY", "RLE_DICTIONARY"} & set(chunk.encodings)
        assert {column.compression for column in columns.values()} == {"ZSTD"}
        assert chunk.has_column_index or chunk.has_offset_index
        assert columns["image_id"].has_column_index
        assert columns["image_id"].statistics.min is not None
    metadata = {key.decode(): value.decode() for key, value in file.metadata.metadata.items()}
    assert metadata["i2s_batch.schema_version"] == "5"
    assert json.loads(metadata["i2s_batch.latent_shape"]) == [L, W_DIM]
    assert json.loads(metadata["i2s_batch.settings"]) == {"steps": 5}
    ids = file.read(["image_id"])["image_id"].to_pylist()
    assert ids == [f"{n:05d}.png" for n in range(300)]


def test_shards_are_deterministic() -> None:
    assert shard(range(50)) == shard(range(50))


def test_every_reader_sees_the_same(tmp_path: Path) -> None:
    store = open_store(str(tmp_path))
    store.put(RunLayout.shard(0), shard(range(200)))
    store.put(RunLayout.shard(1), shard(range(200, 300)))
    pattern = f"{tmp_path}/latents/*.parquet"
    expected = {n: None if n % 3 == 2 else latent(n).reshape(-1).tolist() for n in range(300)}
    by_arrow = pq.read_table(tmp_path / "latents")
    by_polars = polars.read_parquet(pattern).sort("image_id")
    query = f"SELECT image_id, latent, loss, psnr, label FROM '{pattern}' ORDER BY image_id"
    by_duckdb = duckdb.sql(query).fetchall()
    assert by_polars.schema["latent"] == polars.Array(polars.Float32, L * W_DIM)
    for n, (image_id, vector, loss, psnr, label) in enumerate(by_duckdb):
        good = expected[n] is not None
        assert image_id == f"{n:05d}.png"
        assert (None if vector is None else list(vector)) == expected[n]
        assert (loss, psnr, label) == ((n / 7, float("inf"), "q") if good else (None, None, None))
    assert by_polars["latent"].to_list() == list(expected.values())
    assert by_arrow["latent"].to_pylist() == list(expected.values())
    assert by_arrow["embedded_at"][0].as_py() == NOW
    registered = by_arrow
    assert duckdb.sql("SELECT count(*), sum(age) FROM registered").fetchall() == [(300, 2100)]
    assert registered.num_rows == 300


def test_read_latents(out: Store) -> None:
    table = read_latents(out.url)
    good = [n for n in range(300) if n % 3 != 2]
    assert table.ids == [f"{n:05d}.png" for n in good]
    assert table.latents.shape == (200, L, W_DIM)
    assert table.latents.dtype == np.float32
    np.testing.assert_array_equal(table.latents, np.stack([latent(n) for n in good]))
    np.testing.assert_array_equal(table.metrics["loss"], [n / 7 for n in good])
    np.testing.assert_array_equal(table.metrics["age"], [7] * 200)
    assert np.isnan(table.metrics["lpips"]).all()
    assert np.isnan(table.metrics["seed"]).all()
    assert not {"image_id", "latent", "loss_curve", "embedded_at", "label"} & set(table.metrics)
    assert table.table.num_rows == 200


def test_read_table_has_every_row(out: Store) -> None:
    table = read_table(out.url)
    assert table["image_id"].to_pylist() == [f"{n:05d}.png" for n in range(300)]
    assert table["status"].to_pylist().count("unreadable") == 100


def test_some_columns_are_read_without_the_rest(s3_bucket: str, s3_downloads: list[int]) -> None:
    size = 18 * 512
    values = np.random.default_rng(0).normal(size=300 * size).astype(np.float32)
    ids = pa.array([f"{n:05d}.png" for n in range(300)])
    whole = pa.table(
        {"image_id": ids, "latent": pa.FixedSizeListArray.from_arrays(values, size), "loss": np.arange(300)}
    )
    store = open_store(f"s3://{s3_bucket}")
    store.put(RunLayout.shard(0), encode_shard(whole, META))
    s3_downloads.clear()
    some = read_table(store.url, ["image_id", "loss"])
    assert some.to_pydict() == whole.select(["image_id", "loss"]).to_pydict()
    assert sum(s3_downloads) < 100_000
    assert len(s3_downloads) < 10


def test_shards_out_of_order_are_put_in_order(tmp_path: Path) -> None:
    store = open_store(str(tmp_path))
    store.put(RunLayout.shard(0), shard(range(100, 160)))
    store.put(RunLayout.shard(1), shard(range(100)))
    table = read_latents(str(tmp_path))
    assert table.ids == sorted(table.ids)
    np.testing.assert_array_equal(table.latents[-1], latent(int(table.ids[-1][:5])))


def test_a_run_without_one_good_picture(tmp_path: Path) -> None:
    open_store(str(tmp_path)).put(RunLayout.shard(0), shard(range(2, 3)))
    table = read_latents(str(tmp_path))
    assert table.ids == []
    assert table.latents.shape == (0, L, W_DIM)
    assert len(table.metrics["loss"]) == 0


def test_no_output(tmp_path: Path, s3_bucket: str) -> None:
    for where in (str(tmp_path / "missing"), str(tmp_path), f"s3://{s3_bucket}/missing"):
        missing = "does not exist, so it " if where.startswith("/") and where.endswith("missing") else ""
        with pytest.raises(StorageError, match=rf"{where}' {missing}holds no output"):
            read_latents(where)
    with pytest.raises(StorageError, match=r"the bucket does not exist"):
        read_latents("s3://no-such-bucket-at-all/out")


def test_a_damaged_shard_is_named(out: Store) -> None:
    key = RunLayout.shard(1)
    whole = out.get(key)
    flipped = bytearray(whole)
    flipped[len(whole) // 3] ^= 0xFF
    for damaged in (b"", whole[: len(whole) // 2], whole[:-3], b"PAR1" + whole, bytes(flipped)):
        out.put(key, damaged)
        with pytest.raises(StorageError, match=r"shard-00001.parquet' is damaged") as caught:
            read_latents(out.url)
        assert "\n" not in str(caught.value)


def test_foreign_files_in_latents(out: Store) -> None:
    foreign = pa.BufferOutputStream()
    pq.write_table(pa.table({"a": [1]}), foreign)
    out.put("latents/other.parquet", foreign.getvalue().to_pybytes())
    with pytest.raises(StorageError, match=r"latents/other.parquet' is not a shard of this table"):
        read_latents(out.url)
    out.delete(["latents/other.parquet"])
    out.put(RunLayout.shard(2), foreign.getvalue().to_pybytes())
    with pytest.raises(StorageError, match=r"shard-00002.parquet' is a Parquet file of another program"):
        read_latents(out.url)
    other = decode_rows([encode_cells([{"image_id": "z"}], table_schema(9))], table_schema(9))
    out.put(RunLayout.shard(2), encode_shard(other, META))
    with pytest.raises(StorageError, match=r"shard-00002.parquet' has other columns than"):
        read_latents(out.url)
    newer = META | {"i2s_batch.schema_version": "6"}
    out.put(RunLayout.shard(2), encode_shard(other, newer))
    with pytest.raises(StorageError, match=r"has schema version 6; this program reads 1 to 5"):
        read_latents(out.url)
