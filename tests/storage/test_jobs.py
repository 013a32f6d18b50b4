"""Lists of edits and of ids."""

from __future__ import annotations

from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from i2s_batch.errors import SourceError
from i2s_batch.storage.sources.jobs import JobRow, parse_layers, parse_strengths, read_ids, read_jobs

COLUMNS = ("content", "style")


def test_csv_and_parquet_say_the_same(tmp_path: Path) -> None:
    csv = tmp_path / "jobs.csv"
    csv.write_text('content,style,layers,strengths\n007,"b,1.png",4-6;9,\nc,d,,"0, 0.5 1"\n')
    expected = [JobRow(("007", "b,1.png"), None, (4, 5, 6, 9)), JobRow(("c", "d"), (0.0, 0.5, 1.0), None)]
    assert read_jobs(str(csv), COLUMNS) == expected
    table = pa.table(
        {
            "content": ["007", "c"],
            "style": ["b,1.png", "d"],
            "layers": [[4, 5, 6, 9], None],
            "strengths": [None, [0, 0.5, 1]],
        }
    )
    pq.write_table(table, tmp_path / "jobs.parquet")
    assert read_jobs(str(tmp_path / "jobs.parquet"), COLUMNS) == expected


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("content\na\n", "has no column 'style'; it has content"),
        ("content,style,mood\na,b,c\n", "column 'mood' means nothing here"),
        ("content,style\n", "lists no job"),
        ("content,style\na,b\nc,\n", "row 2 has no image id in 'style'"),
        ("content,style,layers\na,b,4-x\n", "row 1: '4-x' is no list of layers"),
        ("content,style,strengths\na,b,half\n", "row 1: 'half' is no list of numbers"),
        ("content,style\na,b,c\n", "line 2 has 3 cells; the header has 2"),
        ("content,style\n'a,b\n\"c,d\n", "line 3 is no CSV"),
        ("", "has no column 'content'; it has no columns"),
    ],
)
def test_bad_lists_are_refused_with_the_row(tmp_path: Path, content: str, message: str) -> None:
    file = tmp_path / "jobs.csv"
    file.write_text(content)
    with pytest.raises(SourceError) as refusal:
        read_jobs(str(file), COLUMNS)
    assert message in str(refusal.value) and "\n" not in str(refusal.value)


def test_other_files_are_refused(tmp_path: Path) -> None:
    (tmp_path / "jobs.xlsx").touch()
    (tmp_path / "jobs.parquet").write_text("no parquet")
    for name, message in (
        ("jobs.xlsx", "must end in"),
        ("jobs.parquet", "no readable Parquet file"),
        ("none.csv", "exist"),
    ):
        with pytest.raises(SourceError, match=message):
            read_jobs(str(tmp_path / name), COLUMNS)


def test_ids(tmp_path: Path) -> None:
    file = tmp_path / "ids.txt"
    file.write_text("b.png\n\na name with spaces.png\r\n")
    assert read_ids(str(file)) == ["b.png", "a name with spaces.png"]
    file.write_text("\n")
    with pytest.raises(SourceError, match="lists no image id"):
        read_ids(str(file))
    with pytest.raises(SourceError, match="cannot be read"):
        read_ids(str(tmp_path / "none.txt"))


def test_numbers() -> None:
    assert parse_layers("9, 4-6 5") == [4, 5, 6, 9] and parse_strengths("0;1e-1,-2") == [0, 0.1, -2]
    for text in ("4-", "-4", "x", "1-99999999999"):
        with pytest.raises(ValueError, match="no list of layers"):
            parse_layers(text)
