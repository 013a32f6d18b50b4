"""SQL over the table: right answers from both kinds of places, little fetched, and nothing but the table in reach."""

from __future__ import annotations

import decimal
import io
import json
from pathlib import Path
from typing import Any

import duckdb
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from i2s_batch.errors import QueryError, StorageError
from i2s_batch.output.layout import RunLayout
from i2s_batch.schema.codec import encode_shard
from i2s_batch.storage import Store, open_store
from i2s_batch.table.dataset import open_table
from i2s_batch.table.query_output import limited, write_csv, write_json, write_parquet
from i2s_batch.table.sql import run_query
from tests.storage.test_table import META, SCHEMA, W_DIM, L, latent, out, shard  # noqa: F401


def ask(url: str, query: str) -> list[tuple[Any, ...]]:
    with run_query(open_table(url), query) as found:
        rows = [row for batch in found.batches for row in zip(*(c.to_pylist() for c in batch.columns), strict=True)]
        assert all(len(row) == len(found.schema.names) for row in rows)
    return rows


def test_answers(out: Store) -> None:  # noqa: F811
    assert ask(out.url, "SELECT status, count(*) FROM latents GROUP BY ALL ORDER BY 1") == [
        ("ok", 200),
        ("unreadable", 100),
    ]
    assert ask(out.url, "SELECT count(*), min(image_id) FROM failures WHERE error IS NOT NULL") == [(100, "00002.png")]
    (row,) = ask(out.url, "FROM latents WHERE image_id = '00100.png'")
    np.testing.assert_array_equal(np.float32(row[SCHEMA.get_field_index("latent")]).reshape(L, W_DIM), latent(100))
    with_names = "WITH good AS (SELECT * FROM latents WHERE status = 'ok') SELECT count(*) FROM good, range(2)"
    assert ask(out.url, with_names) == [(400,)]
    assert len(ask(out.url, "SELECT image_id, latent FROM latents ORDER BY loss DESC LIMIT 7")) == 7
    assert ("failures",) in ask(out.url, "SHOW TABLES")
    assert ask(out.url, "DESCRIBE latents")[0][:2] == ("image_id", "VARCHAR")


def test_macros(out: Store) -> None:  # noqa: F811
    a, b = latent(0).astype(np.float64), latent(1).astype(np.float64)
    one = "WHERE image_id = '00000.png'"
    ((layer,),) = ask(out.url, f"SELECT layer(latent, 2) FROM latents {one}")
    np.testing.assert_array_equal(layer, a[2])
    other = "latent_of('00001.png')"
    ((far, angle, part, nothing),) = ask(
        out.url,
        f"SELECT euclidean(latent, {other}), cosine(latent, {other}), "
        f"euclidean(layer(latent, 3), layer({other}, 3)), layer(NULL, 1) FROM latents {one}",
    )
    assert far == pytest.approx(np.linalg.norm(a - b), rel=1e-5)
    assert angle == pytest.approx(1 - (a * b).sum() / np.linalg.norm(a) / np.linalg.norm(b), abs=1e-5)
    assert part == pytest.approx(np.linalg.norm(a[3] - b[3]), rel=1e-5) and nothing is None
    classes = "SELECT list(psnr_class(p::DOUBLE)) FROM unnest([-3, 19.9, 20, 34.9, 39, 40, 'inf'::DOUBLE, NULL]) t(p)"
    assert ask(out.url, classes)[0][0] == [
        *("00-20 dB", "00-20 dB", "20-25 dB", "30-35 dB", "35-40 dB", "40+ dB", "40+ dB", None),
    ]
    with pytest.raises(QueryError, match=r"layer 4 is asked for; the layers are 0 to 3$"):
        ask(out.url, "SELECT layer(latent, 4) FROM latents")


def test_only_what_is_asked_for_is_fetched(s3_bucket: str, s3_downloads: list[int]) -> None:
    """300 codes of 18 x 512 are 11 MB; one of them by its id is one row group, and numbers are next to nothing."""
    size = 18 * 512
    values = np.random.default_rng(0).normal(size=300 * size).astype(np.float32)
    ids = pa.array([f"{n:05d}.png" for n in range(300)])
    codes = pa.FixedSizeListArray.from_arrays(values, size)
    whole = pa.table({"image_id": ids, "status": ["ok"] * 300, "latent": codes, "loss": np.arange(300)})
    store = open_store(f"s3://{s3_bucket}")
    store.put(RunLayout.shard(0), encode_shard(whole, META | {"i2s_batch.latent_shape": "[18, 512]"}))
    s3_downloads.clear()
    assert ask(store.url, "SELECT sum(loss) FROM latents WHERE image_id > '00010.png'")[0][0] == sum(range(11, 300))
    assert sum(s3_downloads) < 200_000
    s3_downloads.clear()
    assert len(ask(store.url, "SELECT latent FROM latents WHERE image_id = '00290.png'")) == 1
    assert sum(s3_downloads) < 3_000_000


@pytest.fixture
def secret(tmp_path: Path) -> Path:
    path = tmp_path / "secret.csv"
    path.write_text(f"secret\n{HIDDEN}\n")
    return path


HIDDEN = 8_271_946_053  # that no path of a test folder holds, as the number of a pytest session may be
SMALL_DISK = {"max_temp_directory_size": "1MB"}

# What must not be possible: {secret} is a file that exists, {new} one that does not.
HOSTILE = """
SELECT * FROM '{secret}'
SELECT * FROM "{secret}"
FROM '{secret}'
FROM latents, '{secret}'
SELECT * FROM read_csv('{secret}')
SELECT * FROM read_csv_auto(['{secret}'])
SELECT * FROM main.read_csv('{secret}')
SELECT * FROM READ_TEXT('{secret}')
SELECT * FROM read_blob('{secret}')
SELECT * FROM read_json('{secret}')
SELECT * FROM read_parquet('{secret}')
SELECT * FROM parquet_scan('{secret}')
SELECT * FROM parquet_metadata('{secret}')
SELECT * FROM sniff_csv('{secret}')
SELECT * FROM read_duckdb('{secret}')
SELECT * FROM glob('/*')
SELECT * FROM 's3://bucket/key.parquet'
SELECT * FROM 'https://example.com/x.csv'
SELECT * FROM read_parquet('http://127.0.0.1:9/x.parquet')
SELECT (SELECT max(content) FROM read_text('{secret}')) FROM latents
SELECT * FROM latents WHERE image_id IN (SELECT content FROM read_text('{secret}'))
WITH a AS (SELECT * FROM read_text('{secret}')) SELECT * FROM a
SELECT 1 UNION ALL SELECT count(*) FROM read_text('{secret}')
SELECT list((SELECT 1 FROM read_text('{secret}'))) FROM latents
SUMMARIZE SELECT * FROM read_text('{secret}')
DESCRIBE SELECT * FROM read_text('{secret}')
FROM query('SELECT * FROM read_text(''{secret}'')')
FROM query_table('duckdb_settings')
FROM json_execute_serialized_sql(json_serialize_sql('SELECT 1'))
FROM arrow_scan(1, 2, 3)
FROM arrow_scan_dumb(1, 2, 3)
FROM python_arrow_scan(1, 2, 3)
FROM pandas_scan(1)
FROM seq_scan('latents')
FROM duckdb_settings()
FROM duckdb_secrets()
FROM duckdb_functions()
FROM pg_catalog.pg_settings
FROM information_schema.tables
WITH a AS (WITH pg_settings AS (SELECT 1) FROM pg_settings) SELECT * FROM pg_settings
WITH a AS (FROM pg_settings), pg_settings AS (SELECT 1) FROM a
WITH "pg_catalog.pg_settings" AS (SELECT 1) FROM pg_catalog.pg_settings
SELECT (WITH sqlite_master AS (SELECT 1) SELECT 1), * FROM sqlite_master
FROM HOME
FROM hidden_table
CALL pragma_version()
FROM pragma_version()
FROM pragma_show('latents')
SELECT current_setting('temp_directory')
SELECT getenv('HOME')
SELECT getvariable('a')
SELECT write_log('hello')
SELECT sleep_ms(100000)
COPY latents TO '{new}'
COPY (SELECT 1) TO '{new}' (FORMAT parquet)
COPY latents FROM '{secret}'
EXPORT DATABASE '{new}'
IMPORT DATABASE '{new}'
ATTACH '{new}' AS other
ATTACH DATABASE 'https://example.com/x.db'
DETACH memory
USE memory
INSTALL httpfs
LOAD httpfs
FORCE INSTALL httpfs FROM community
UPDATE EXTENSIONS
PRAGMA database_list
PRAGMA enable_profiling
SET memory_limit = '900GB'
SET enable_external_access = true
RESET enable_external_access
SET VARIABLE a = 1
CREATE TABLE mine AS SELECT 1
CREATE OR REPLACE VIEW failures AS SELECT 1
CREATE MACRO layer(a, b) AS 1
CREATE SECRET s (TYPE s3)
CREATE TYPE mood AS ENUM ('a')
INSERT INTO latents VALUES (1)
DELETE FROM latents
UPDATE latents SET status = 'ok'
TRUNCATE latents
MERGE INTO latents USING failures ON true WHEN MATCHED THEN DELETE
WITH gone AS (DELETE FROM latents RETURNING *) SELECT * FROM gone
WITH more AS (INSERT INTO latents SELECT * FROM latents RETURNING *) SELECT * FROM more
DROP VIEW failures
ALTER VIEW failures RENAME TO others
VACUUM
CHECKPOINT
ANALYZE
BEGIN
COMMIT
PREPARE p AS SELECT 1
EXECUTE p
DEALLOCATE p
EXPLAIN ANALYZE COPY latents TO '{new}'
EXPLAIN SELECT 1
SELECT 1; COPY latents TO '{new}'
SELECT 1; SELECT 2
PIVOT latents ON status USING count(*)
COMMENT ON TABLE latents IS 'mine'
SELECT ?
SELECT $a
SELEC 1
SELECT
;
-- nothing at all
""".strip().splitlines()


@pytest.mark.parametrize("query", [*HOSTILE, "", "\x00", "'", "(" * 5000 + "1" + ")" * 5000])
def test_hostile_queries_are_refused(query: str, secret: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store = open_store(str(tmp_path / "out"))
    store.put(RunLayout.shard(0), shard(range(5)))
    monkeypatch.setenv("HOME", str(tmp_path))
    hidden_table = pa.table({"secret": [HIDDEN]})  # what DuckDB would find among the variables of Python
    before = sorted(path for path in tmp_path.rglob("*") if path.is_file())
    with pytest.raises(QueryError) as refused:
        rows = ask(store.url, query.format(secret=secret, new=tmp_path / "new"))
        raise AssertionError(f"it gave {rows}")
    message = str(refused.value)
    assert "\n" not in message and str(HIDDEN) not in message and len(message) < 400, message
    assert sorted(path for path in tmp_path.rglob("*") if path.is_file()) == before
    assert hidden_table.num_rows == 1


def test_the_second_fence_holds_alone(secret: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What the check of the syntax would let through meets a connection that reaches nothing."""
    monkeypatch.setattr("i2s_batch.table.sql.check_part", lambda part, tables: None)
    store = open_store(str(tmp_path / "out"))
    store.put(RunLayout.shard(0), shard(range(5)))
    for query in (
        f"SELECT * FROM '{secret}'",
        f"SELECT * FROM read_text('{secret}')",
        "FROM 's3://bucket/key.parquet'",
        "FROM glob('/*')",
        "FROM secret_table",
    ):
        secret_table = pa.table({"secret": [HIDDEN]})
        with pytest.raises(QueryError):
            raise AssertionError(f"it gave {ask(store.url, query)}")
        assert secret_table.num_rows == 1


def test_no_temporary_folder_is_left(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path / "tmp"))
    (tmp_path / "tmp").mkdir()
    store = open_store(str(tmp_path / "out"))
    store.put(RunLayout.shard(0), shard(range(5)))
    assert len(ask(store.url, "FROM latents")) == 5
    with pytest.raises(QueryError):
        ask(store.url, "FROM nothing")
    assert list((tmp_path / "tmp").iterdir()) == []


def test_what_is_too_large_says_what_helps(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """At the start: DuckDB takes 72 MiB to sort 300 codes of 18 x 512. While the answer is read: a million texts."""
    size = 18 * 512
    values = np.random.default_rng(0).normal(size=300 * size).astype(np.float32)
    ids = pa.array([f"{n:05d}.png" for n in range(300)])
    codes = pa.FixedSizeListArray.from_arrays(values, size)
    whole = pa.table({"image_id": ids, "status": ["ok"] * 300, "latent": codes})
    store = open_store(str(tmp_path / "out"))
    store.put(RunLayout.shard(0), encode_shard(whole, META | {"i2s_batch.latent_shape": "[18, 512]"}))
    monkeypatch.setattr("i2s_batch.table.sql.MEMORY_LIMIT", "50MB")
    helps = r"take fewer columns .* or fewer rows \(WHERE\), use i2s-batch neighbours .* and i2s-batch export [a-z ]*$"
    tall = "SELECT i, md5(i::VARCHAR) m, md5((i + 1)::VARCHAR) n FROM range(1000000) t(i) ORDER BY m"
    connect = duckdb.connect
    monkeypatch.setattr("duckdb.connect", lambda name, config: connect(name, config=config | SMALL_DISK))
    for query in ("SELECT image_id, latent FROM latents ORDER BY latent", tall):
        with pytest.raises(QueryError, match=rf"^the query needs more memory than its 50MB .*; {helps}"):
            ask(store.url, query)


def test_damaged_and_foreign_shards_are_named(out: Store) -> None:  # noqa: F811
    key = RunLayout.shard(1)
    whole = out.get(key)
    flipped = bytearray(whole)
    flipped[len(whole) // 3] ^= 0xFF
    out.put(key, bytes(flipped))
    assert len(ask(out.url, "SELECT image_id FROM latents")) == 300, "what is not read is not missed"
    with pytest.raises(StorageError, match=r"shard-00001.parquet' is damaged"):
        ask(out.url, "FROM latents")
    for damaged in (b"", whole[: len(whole) // 2], whole[:-3]):
        out.put(key, damaged)
        with pytest.raises(StorageError, match=r"shard-00001.parquet' is damaged"):
            ask(out.url, "SELECT 1")
    foreign = pa.BufferOutputStream()
    pq.write_table(pa.table({"a": [1]}), foreign)
    out.put(key, foreign.getvalue().to_pybytes())
    with pytest.raises(StorageError, match=r"shard-00001.parquet' is a Parquet file of another program"):
        ask(out.url, "SELECT 1")


def test_answers_as_files(tmp_path: Path) -> None:
    store = open_store(str(tmp_path / "out"))
    store.put(RunLayout.shard(0), shard(range(150)))
    table = open_table(store.url)
    query = "SELECT image_id, psnr, latent, embedded_at, 1 AS image_id, sum(1) OVER () AS n FROM latents"
    with run_query(table, query) as found:
        text = io.StringIO()
        write_csv(found.schema, limited(found.batches, 3), text)
    header, first, _, third = text.getvalue().splitlines()
    assert header == "image_id,psnr,latent,embedded_at,image_id_1,n"
    assert first.startswith('00000.png,inf,"[0.1257302') and first.endswith(",1,150") and "2026-01-02T03:04:05" in first
    assert third == "00002.png,,,,1,150"
    with run_query(table, query) as found:
        text = io.StringIO()
        write_json(found.schema, limited(found.batches, 3), text)
    rows = json.loads(text.getvalue())
    assert [row["psnr"] for row in rows] == [None] * 3 and rows[0]["n"] == 150 and len(rows[1]["latent"]) == L * W_DIM
    with run_query(table, "SELECT 1 AS a FROM latents WHERE false") as found:
        text = io.StringIO()
        write_json(found.schema, found.batches, text)
    assert json.loads(text.getvalue()) == []
    with run_query(table, "SELECT * FROM latents") as found, (tmp_path / "x.parquet").open("wb") as file:
        write_parquet(found.schema, found.batches, file)
    with pq.ParquetFile(tmp_path / "x.parquet") as found:
        assert (found.metadata.num_rows, found.metadata.num_row_groups) == (150, 2)
        assert found.schema_arrow.field("latent").type == table.schema.field("latent").type


def test_columns_of_types_that_sql_has_not_can_be_queried(tmp_path: Path) -> None:
    """Earlier versions passed through whatever a Parquet list held."""
    table = pq.read_table(io.BytesIO(shard(range(3))))
    columns = {
        "half": pa.array([0.5, None, 2], pa.float16()),
        "halves": pa.array([[0.5], [], None], pa.list_(pa.float16())),
        "long": pa.array([decimal.Decimal("1.50"), None, decimal.Decimal(-2)], pa.decimal256(60, 2)),
        "view": pa.array(["x", None, "z"], pa.string_view()),
    }
    for name, column in columns.items():
        table = table.append_column(name, column)
    sink = io.BytesIO()
    pq.write_table(table, sink)
    store = open_store(str(tmp_path / "out"))
    store.put(RunLayout.shard(0), sink.getvalue())
    assert ask(store.url, "SELECT half, halves, long, view FROM latents ORDER BY image_id") == [
        (0.5, [0.5], "1.50", "x"),
        (None, [], None, None),
        (2.0, None, "-2.00", "z"),
    ]
