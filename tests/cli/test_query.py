"""`i2s-batch query` as users start it."""

from __future__ import annotations

import csv
import io
import json
import math
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from i2s_batch.cli.aligned import aligned
from i2s_batch.output.layout import RunLayout
from i2s_batch.storage import Store, open_store
from tests.program import here, i2s_batch, refusal
from tests.storage.test_table import SCHEMA, shard

NAMES = "SELECT image_id, status, psnr, loss, latent FROM latents ORDER BY image_id"


@pytest.fixture
def out(tmp_path: Path) -> Store:
    store = open_store(str(tmp_path / "out"))
    store.put(RunLayout.shard(0), shard(range(60)))
    return store


def test_a_table_for_people(out: Store) -> None:
    result = i2s_batch("query", out.url, NAMES, env={"COLUMNS": "100"})
    assert result.returncode == 0, result.stderr
    header, rule, first, second, third, *rest = result.stdout.splitlines()
    assert header.split() == ["image_id", "status", "psnr", "loss", "latent"] and set(rule) == {"-", " "}
    assert first == "00000.png  ok           inf         0  [0.12573, -0.132105, 0.640423, ... 32 in all]"
    assert second.split()[:4] == ["00001.png", "ok", "inf", "0.142857"]
    assert third.split() == ["00002.png", "unreadable", "null", "null", "null"] and len(rest) == 47
    assert result.stderr == "there are more than these 50 rows; --limit shows more, --output FILE.csv writes all\n"
    few = here("query", out.url, NAMES, "--limit", "2", env={"COLUMNS": "100"})
    assert len(few.stdout.splitlines()) == 4 and few.stderr.startswith("there are more than these 2 rows")
    counted = [here("query", out.url, f"FROM latents LIMIT {n}").stderr.splitlines()[-1] for n in (1, 7)]
    assert counted == ["1 row", "7 rows"]


def test_texts_are_whole_unless_the_line_is_too_short(out: Store) -> None:
    text = "a long text " * 20
    sql = f"SELECT '{text}' AS text"
    assert text.strip() in here("query", out.url, sql, env={"COLUMNS": ""}).stdout
    assert text.strip() in here("query", out.url, sql, "--max-width", "500", env={"COLUMNS": "40"}).stdout
    cut = here("query", out.url, sql, "--max-width", "60", env={"COLUMNS": ""}).stdout
    assert "..." in cut and max(map(len, cut.splitlines())) <= 60
    refused = here("query", out.url, sql, "--max-width", "60", "--format", "csv")
    assert "--max-width has no effect" in refusal(refused)


def test_errors_show_where_they_are(out: Store) -> None:
    """Where DuckDB draws the position, as of a query that is not SQL."""
    message, line, caret = here("query", out.url, "SELECT psnr FORM latents WHERE 1").stderr.splitlines()
    assert message == 'i2s-batch: the query is not SQL: syntax error at or near "latents"'
    assert line == "LINE 1: SELECT psnr FORM latents WHERE 1" and caret.lstrip() in ("^", "^" * len("latents"))
    assert caret.index("^") == line.index("latents")


def test_a_terminal_that_is_too_narrow(out: Store) -> None:
    result = here("query", out.url, "FROM latents", env={"COLUMNS": "80"})
    assert max(map(len, result.stdout.splitlines())) <= 80
    assert "columns do not fit (" in result.stderr and "; name those that you want" in result.stderr
    piped = here("query", out.url, "FROM latents", "--limit", "1", env={"COLUMNS": ""})
    assert len(piped.stdout.splitlines()[0].split()) == len(SCHEMA)


def test_texts_cannot_move_the_cursor() -> None:
    table = aligned(["a\x1b[2J"], [["\x1b[31mred\n"], [None], [math.inf], [[1.0, 2.0, 3.0, 4.0]]], 40)
    assert not any("\x1b" in line or "\n" in line for line in table.lines) and table.left_out == []
    assert aligned(["x", "y"], [], 1).left_out == ["y"]


def test_for_programs(out: Store, tmp_path: Path) -> None:
    rows = list(csv.DictReader(io.StringIO(here("query", out.url, NAMES, "--format", "csv").stdout)))
    assert len(rows) == 60 and rows[1]["loss"] == str(1 / 7) and len(json.loads(rows[0]["latent"])) == 32
    listed = json.loads(here("query", out.url, NAMES, "--format", "json", "--limit", "5").stdout)
    assert [entry["image_id"] for entry in listed] == [f"{n:05d}.png" for n in range(5)]
    for name, options in (("a.csv", []), ("a.json", []), ("a.parquet", []), ("a.dat", ["--format", "parquet"])):
        result = here("query", out.url, NAMES, "-o", tmp_path / name, *options)
        assert (result.returncode, result.stdout, result.stderr) == (0, "", "")
    assert pq.read_table(tmp_path / "a.dat").equals(pq.read_table(tmp_path / "a.parquet"))
    assert len(json.loads((tmp_path / "a.json").read_text())) == 60
    assert list(csv.DictReader(io.StringIO((tmp_path / "a.csv").read_text()))) == rows


def test_bad_usage_and_bad_queries(out: Store, tmp_path: Path) -> None:
    for arguments, message in (
        (["SELECT 1"], "Missing argument 'SQL'"),
        ([tmp_path / "nowhere", "SELECT 1"], "holds no output of i2s-batch"),
        ([out.url, "SELEC 1"], 'the query is not SQL: syntax error at or near "SELEC"'),
        ([out.url, "SELECT lozz FROM latents"], 'Referenced column "lozz" not found'),
        ([out.url, "DROP TABLE latents"], "the query is a DROP statement; a query is one SELECT"),
        ([out.url, "FROM read_csv('/etc/passwd')"], "the query calls 'read_csv'; a query is one SELECT"),
        ([out.url, "FROM '/etc/passwd'"], "the query reads '/etc/passwd'; a query is one SELECT"),
        ([out.url, "SELECT 1", "--limit", "0"], "0 is not in the range x>=1"),
        ([out.url, "SELECT 1", "--format", "xml"], "'xml' is not one of"),
        ([out.url, "SELECT 1", "--format", "parquet"], "--output FILE.parquet"),
        ([out.url, "SELECT 1", "-o", "a.txt"], "ends in no format"),
        ([out.url, "SELECT 1", "-o", tmp_path / "no" / "a.csv"], "create it first"),
        ([out.url, "SELECT 1", "-o", "s3://bucket/a.csv"], "a path on this machine"),
        ([out.url, "SELECT 1", "-o", tmp_path, "--format", "csv"], "is a folder; name a file"),
        ([out.url, "SELECT error('x')", "-o", tmp_path / "a.csv"], "the query fails: x"),
    ):
        result = here("query", *arguments)
        result.stderr = result.stderr.partition("\nLINE 1: ")[0]  # the drawing of the position
        assert message in refusal(result)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["out"], "nothing half-written"


def test_what_parquet_has_no_type_for_is_refused_by_name(out: Store, tmp_path: Path) -> None:
    """DuckDB makes an interval of a list's duration too."""
    path = str(tmp_path / "x.parquet")
    for column in ("INTERVAL 3 HOURS", "[INTERVAL 3 HOURS]"):
        result = here("query", out.url, f"SELECT image_id, {column} AS took FROM latents", "-o", path)
        line = refusal(result)
        assert "column 'took' holds" in line and "epoch(COLUMN)" in line
        assert not Path(path).exists()
    seconds = "SELECT image_id, epoch(INTERVAL 3 HOURS) AS took FROM latents"
    assert here("query", out.url, seconds, "-o", path).returncode == 0
    assert pq.read_table(path)["took"][0].as_py() == 3 * 3600
