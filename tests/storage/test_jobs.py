"""Lists of edits and of ids."""

from __future__ import annotations

from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from i2s_batch.editing import ListedEdit
from i2s_batch.editing.edit_lists import parse_layers, parse_strengths, read_edit_list, read_ids
from i2s_batch.errors import SourceError
from i2s_batch.sources.source import list_images

COLUMNS = ("content", "style")


def test_csv_and_parquet_say_the_same(tmp_path: Path) -> None:
    csv = tmp_path / "edits.csv"
    csv.write_text('content,style,layers,strengths\n007,"b,1.png",4-6;9,\nc,d,,"0, 0.5 1"\n')
    expected = [ListedEdit(("007", "b,1.png"), None, (4, 5, 6, 9)), ListedEdit(("c", "d"), (0.0, 0.5, 1.0), None)]
    assert read_edit_list(str(csv), COLUMNS) == expected
    table = pa.table(
        {
            "content": ["007", "c"],
            "style": ["b,1.png", "d"],
            "layers": [[4, 5, 6, 9], None],
            "strengths": [None, [0, 0.5, 1]],
        }
    )
    pq.write_table(table, tmp_path / "edits.parquet")
    assert read_edit_list(str(tmp_path / "edits.parquet"), COLUMNS) == expected


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("content\na\n", "has no column 'style'; it has content"),
        ("content,style,mood\na,b,c\n", "column 'mood' is not known"),
        ("content,style\n", "lists no edit"),
        ("content,style\na,b\nc,\n", "row 2 has no image id in 'style'"),
        ("content,style,layers\na,b,4-x\n", "row 1: '4-x' is no list of layers"),
        ("content,style,strengths\na,b,half\n", "row 1: 'half' is no list of numbers"),
        ("content,style\na,b,c\n", "line 2 has 3 cells; the header has 2"),
        ("content,style\n'a,b\n\"c,d\n", "line 3 is no CSV"),
        ("", "has no column 'content'; it has no columns"),
    ],
)
def test_bad_lists_are_refused_with_the_row(tmp_path: Path, content: str, message: str) -> None:
    file = tmp_path / "edits.csv"
    file.write_text(content)
    with pytest.raises(SourceError) as refusal:
        read_edit_list(str(file), COLUMNS)
    assert message in str(refusal.value) and "\n" not in str(refusal.value)


def test_other_files_are_refused(tmp_path: Path) -> None:
    (tmp_path / "edits.xlsx").touch()
    (tmp_path / "edits.parquet").write_text("no parquet")
    for name, message in (
        ("edits.xlsx", "must end in"),
        ("edits.parquet", "no readable Parquet file"),
        ("none.csv", "exist"),
    ):
        with pytest.raises(SourceError, match=message):
            read_edit_list(str(tmp_path / name), COLUMNS)


def test_ids(tmp_path: Path) -> None:
    file = tmp_path / "ids.txt"
    file.write_text("b.png\n\na name with spaces.png\r\n")
    assert read_ids(str(file)) == ["b.png", "a name with spaces.png"]
    file.write_text("\n")
    with pytest.raises(SourceError, match="lists no image id"):
        read_ids(str(file))
    with pytest.raises(SourceError, match="cannot be read"):
        read_ids(str(tmp_path / "none.txt"))


@pytest.mark.parametrize("end", ["\n", "\r\n"])
@pytest.mark.parametrize("mark", ["", "\ufeff"])
def test_texts_as_editors_save_them(tmp_path: Path, mark: str, end: str) -> None:
    def save(name: str, *lines: str) -> str:
        (tmp_path / name).write_bytes((mark + end.join(lines) + end).encode())
        return str(tmp_path / name)

    # Within a line, what only Unicode takes for the end of one is a part of the id.
    assert read_ids(save("ids.txt", "b.png", " a\u2028b.png")) == ["b.png", " a\u2028b.png"]
    listed = read_edit_list(save("jobs.csv", "content,style", "a,b"), COLUMNS)
    assert listed == [ListedEdit(("a", "b"))]
    (tmp_path / "a.png").touch()
    for name, lines in {"txt": ["a.png"], "csv": ["path", "a.png"], "jsonl": ['{"path": "a.png"}']}.items():
        listed = list_images(save(f"list.{name}", *lines)).read()
        assert listed["image_id"].to_pylist() == ["a.png"], name


def test_numbers() -> None:
    assert parse_layers("9, 4-6 5") == [4, 5, 6, 9] and parse_strengths("0;1e-1,-2") == [0, 0.1, -2]
    for text in ("4-", "-4", "x", "1-99999999999"):
        with pytest.raises(ValueError, match="no list of layers"):
            parse_layers(text)


@pytest.mark.parametrize(
    ("column", "cell", "message"),
    [
        ("strengths", "nan inf -inf 1e308 0.5", "row 1: the strength nan is no finite number"),
        ("strengths", "0 1e400", "row 1: the strength inf is no finite number"),
        ("strengths", " ; ", "row 1: 0 strengths are given"),
        ("strengths", "0 " * 10_001, "row 1: 10001 strengths are given; give from 1 to 10000"),
        ("layers", "0-9999999", "row 1: '0-9999999' is no list of layers"),
        ("layers", "1000", "row 1: '1000' is no list of layers, such as 4-7,9 (from 0 to 999)"),
        ("layers", "2 7-4", "row 1: '7-4' in '2 7-4' is no range of layers; write 4-7"),
        ("layers", ";", "row 1: 0 layers are given"),
        ("layers", "٣", "no list of layers"),
    ],
)
def test_numbers_out_of_range_are_refused_with_the_row(tmp_path: Path, column: str, cell: str, message: str) -> None:
    file = tmp_path / "edits.csv"
    file.write_text(f"content,style,{column}\na,b,{cell}\n")
    with pytest.raises(SourceError) as refusal:
        read_edit_list(str(file), COLUMNS)
    assert message in str(refusal.value) and "\n" not in str(refusal.value)


@pytest.mark.parametrize(
    ("column", "values", "message"),
    [
        ("strengths", [0.5, float("nan")], "the strength nan is no finite number"),
        ("strengths", [float("inf")], "the strength inf is no finite number"),
        ("strengths", [None], "the strength None is no finite number"),
        ("strengths", [True], "the strength True is no finite number"),
        ("strengths", [], "0 strengths are given"),
        ("layers", [3.5], "3.5 is no layer"),
        ("layers", [float("inf")], "inf is no layer"),
        ("layers", [float("nan")], "nan is no layer"),
        ("layers", [-1], "-1.0 is no layer"),
        ("layers", [1000], "1000.0 is no layer; give whole numbers from 0 to 999"),
        ("layers", [], "0 layers are given"),
        ("layers", [1] * 1001, "1001 layers are given"),
    ],
)
def test_numbers_of_a_parquet_file_too(tmp_path: Path, column: str, values: list, message: str) -> None:
    path = tmp_path / "edits.parquet"
    kind = pa.list_(pa.bool_() if values == [True] else pa.float64())
    pq.write_table(pa.table({"content": ["a"], "style": ["b"], column: pa.array([values], kind)}), path)
    with pytest.raises(SourceError) as refusal:
        read_edit_list(str(path), COLUMNS)
    assert f"row 1: {message}" in str(refusal.value) and "\n" not in str(refusal.value)


def test_layers_are_ascending_and_each_once(tmp_path: Path) -> None:
    path = tmp_path / "edits.parquet"
    pq.write_table(pa.table({"content": ["a"], "style": ["b"], "layers": [[5.0, 2.0, 5.0]]}), path)
    assert read_edit_list(str(path), COLUMNS) == [ListedEdit(("a", "b"), None, (2, 5))]
