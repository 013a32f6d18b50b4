"""Lists of images as people have them: of any separator, of any program, of any system."""

from __future__ import annotations

import gzip
import json
import shutil
import unicodedata
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from i2s_batch.editing import ListedEdit
from i2s_batch.editing.edit_lists import read_edit_list, read_ids
from i2s_batch.errors import PictureError, SourceError, StorageError
from i2s_batch.sources import list_text, spellings
from i2s_batch.sources.image_bytes import read_bytes
from i2s_batch.sources.options import AS_USUAL, SourceOptions
from i2s_batch.sources.source import list_images

TWO = ["imgs/a.png", "imgs/b.png"]


@pytest.fixture
def lists(tmp_path: Path) -> Path:
    """Return a folder with the lists of tests/data, whose images exist."""
    folder = tmp_path / "lists"
    shutil.copytree(Path(__file__).parents[1] / "data" / "lists", folder)
    return folder


def read(path: Path, options: SourceOptions = AS_USUAL, where: str | None = None) -> dict[str, list[Any]]:
    """Return the columns of a list, on this machine or at the url `where`, without the uris."""
    return (
        list_images(str(path) if where is None else f"{where}/{path}", None, options)
        .read()
        .drop_columns("uri")
        .to_pydict()
    )


@pytest.mark.parametrize(
    ("name", "extra"),
    [
        ("metadata.jsonl", {"text": ["x", "y"]}),
        ("pandas-index.csv", {"label": ["cat", "dog"]}),
        ("semicolon.csv", {"label": [1, 2]}),
        ("tab.tsv", {"label": [1, 2]}),
        ("spaces.csv", {"label": [1, 2]}),
        ("string-view.parquet", {"label": ["x", "y"]}),
        ("empty-object.jsonl", {"meta": ["{}", "{}"]}),
        ("windows.csv", {"label": [1, 2]}),
    ],
)
def test_lists_of_other_programs(lists: Path, name: str, extra: dict[str, list[Any]]) -> None:
    found = read(lists / name)
    assert found.pop("image_id") == TWO
    assert found == extra


def test_a_path_with_a_hash_is_a_file_and_remarks_are_none(lists: Path) -> None:
    assert read(lists / "hash.txt") == {"image_id": ["#c.png", "imgs/a.png"]}
    (lists / "remarks.txt").write_text("# imgs/b.png\n#\n##  more\n#\timgs/b.png\n#c.png\n")
    assert read(lists / "remarks.txt") == {"image_id": ["#c.png"]}


@pytest.mark.parametrize("encoding", ["utf-16", "utf-16-le", "utf-16-be", "utf-32"])
@pytest.mark.parametrize("suffix", ["txt", "csv", "jsonl"])
def test_other_encodings_of_unicode_are_named(tmp_path: Path, encoding: str, suffix: str) -> None:
    path = tmp_path / f"list.{suffix}"
    path.write_text('{"path": "a.png"}' if suffix == "jsonl" else "path\na.png\n", encoding)
    with pytest.raises(SourceError, match=r"is UTF-(16|32); save it as UTF-8"):
        list_images(str(path))
    if suffix == "txt":
        with pytest.raises(SourceError, match=r"is UTF-(16|32); save it as UTF-8"):
            read_ids(str(path))


def test_cells_longer_than_pythons_limit(tmp_path: Path) -> None:
    caption = "x" * 140_000
    (tmp_path / "long.csv").write_text(f'path,caption\na.png,"{caption}"\nb.png,short\n')
    assert read(tmp_path / "long.csv") == {"image_id": ["a.png", "b.png"], "caption": [caption, "short"]}


def test_lines_have_a_limit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A compressed list of one line may be a thousand times as long as its file."""
    monkeypatch.setattr(list_text, "MAX_LINE", 1000)
    for name, start in (("l.txt.gz", b"a.png\n"), ("l.csv.gz", b"path\n"), ("l.jsonl.gz", b'{"path": "a.png"}\n')):
        (tmp_path / name).write_bytes(gzip.compress(start + b"x" * 1001))
        with pytest.raises(SourceError, match="has a line of more than 1000 characters"):
            list_images(str(tmp_path / name))


OBJECTS = [{"path": "a.png", "n": 1}, {"path": "b.png", "n": 2}]


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("l.json", json.dumps(OBJECTS)),
        ("l.json", "\n ".join(map(json.dumps, OBJECTS))),
        ("l.ndjson", "\n".join(map(json.dumps, OBJECTS))),
        ("l.tsv", "path\tn\na.png\t1\nb.png\t2\n"),
        ("l.tsv", "path,n\na.png,1\nb.png,2\n"),
        ("l.csv", "n;path\n1;a.png\n2;b.png\n"),
        ("l.csv", "path|n\na.png|1\nb.png|2\n"),
        ("l.csv", "n,path,\n1,a.png,\n2,b.png,\n"),
        ("l.CSV", 'path, n\n"a.png", 1\n"b.png", "2"\n'),
    ],
)
@pytest.mark.parametrize("compressed", [False, True])
def test_formats_and_separators(tmp_path: Path, name: str, text: str, compressed: bool) -> None:
    path = tmp_path / (f"{name}.gz" if compressed else name)
    path.write_bytes(gzip.compress(text.encode()) if compressed else text.encode())
    assert read(path) == {"image_id": ["a.png", "b.png"], "n": [1, 2]}


def test_a_separator_within_a_name_separates_nothing(tmp_path: Path) -> None:
    (tmp_path / "l.csv").write_text('path,a;b;c\nx;1.png,"1,5"\n')
    assert read(tmp_path / "l.csv") == {"image_id": ["x;1.png"], "a;b;c": ["1,5"]}
    (tmp_path / "m.csv").write_text("path\nx, y.png\n".replace(", ", ";"))
    assert read(tmp_path / "m.csv") == {"image_id": ["x;y.png"]}


def test_a_json_array_of_paths(tmp_path: Path) -> None:
    (tmp_path / "l.json").write_text('["b.png", "a.png"]')
    assert read(tmp_path / "l.json") == {"image_id": ["a.png", "b.png"]}
    for text, reason in (("[7]", "row 1 is no JSON object"), ("[", "it is no JSON"), ("[]", "no columns")):
        (tmp_path / "l.json").write_text(text)
        with pytest.raises(SourceError, match=reason):
            list_images(str(tmp_path / "l.json"))


def test_damaged_compression_is_named(tmp_path: Path) -> None:
    whole = gzip.compress(b"path\n" + b"".join(b"%d.png\n" % n for n in range(5000)))
    for data in (b"no gzip", whole[: len(whole) // 2], whole[:60] + bytes(20) + whole[80:]):
        (tmp_path / "l.csv.gz").write_bytes(data)
        with pytest.raises(SourceError, match=r"is no readable gzip file|is no CSV|not UTF-8"):
            list_images(str(tmp_path / "l.csv.gz")).read()


def test_the_column_of_paths(tmp_path: Path) -> None:
    for name in ("file_name", "filepath", "File_Path", "image_path", "img", "key"):
        (tmp_path / "l.csv").write_text(f"label,{name}\n1,a.png\n")
        assert read(tmp_path / "l.csv") == {"image_id": ["a.png"], "label": [1]}
    (tmp_path / "l.csv").write_text("path,Picture;Name\nx,a.png\n")
    chosen = SourceOptions(path_column="Picture;Name")
    assert read(tmp_path / "l.csv", chosen) == {"image_id": ["a.png"], "path": ["x"]}
    (tmp_path / "l.jsonl").write_text('{"path": 1, "foto": "a.png"}')
    assert read(tmp_path / "l.jsonl", SourceOptions("FOTO")) == {"image_id": ["a.png"], "path": [1]}
    with pytest.raises(SourceError, match="has no column 'nothing'; it has path, foto"):
        list_images(str(tmp_path / "l.jsonl"), None, SourceOptions("nothing"))
    (tmp_path / "l.csv").write_text("a,b\n1,2\n")
    with pytest.raises(SourceError, match=r"no column of paths; it has a, b; .* or give --path-column NAME"):
        list_images(str(tmp_path / "l.csv"))


@pytest.mark.parametrize("suffix", ["csv", "jsonl", "parquet"])
def test_names_that_the_table_has_get_a_prefix(tmp_path: Path, suffix: str) -> None:
    row = {"path": "a.png", "Width": 3, "list_width": 4, "image_id": "x", "label": 5}
    path = tmp_path / f"l.{suffix}"
    if suffix == "csv":
        path.write_text(",".join(row) + "\n" + ",".join(map(str, row.values())) + "\n")
    elif suffix == "jsonl":
        path.write_text(json.dumps(row))
    else:
        pq.write_table(pa.Table.from_pylist([row]), path)
    found = read(path)
    assert found.pop("image_id") == ["a.png"]
    assert found == {"list_list_Width": [3], "list_width": [4], "list_image_id": ["x"], "label": [5]}


def test_names_composed_in_another_way_are_found(tmp_path: Path) -> None:
    composed, decomposed = (unicodedata.normalize(form, "zoé.png") for form in ("NFC", "NFD"))
    (tmp_path / decomposed).touch()
    (tmp_path / "l.csv").write_text(f"path\n{composed}\n")
    assert read(tmp_path / "l.csv") == {"image_id": [decomposed]}
    (tmp_path / composed).touch()
    assert read(tmp_path / "l.csv") == {"image_id": [composed]}, "each has its own file"


def test_backslashes_are_found_where_they_mean_folders(tmp_path: Path) -> None:
    (tmp_path / "imgs").mkdir()
    (tmp_path / "imgs" / "é.png").touch()
    (tmp_path / "l.txt").write_text("imgs\\é.png\n")
    assert read(tmp_path / "l.txt") == {"image_id": ["imgs/é.png"]}
    (tmp_path / "imgs\\é.png").touch()
    assert read(tmp_path / "l.txt") == {"image_id": ["imgs\\é.png"]}


def forms(text: str) -> tuple[str, str]:
    """The composed and the decomposed form of a text."""
    return unicodedata.normalize("NFC", text), unicodedata.normalize("NFD", text)


def test_every_folder_of_a_path_may_be_in_its_own_form(tmp_path: Path) -> None:
    (composed, decomposed), (file, other) = forms("été"), forms("zoé.png")
    (tmp_path / decomposed).mkdir()
    (tmp_path / decomposed / file).touch()
    (tmp_path / "l.txt").write_text(f"{composed}\\{other}\n")
    assert read(tmp_path / "l.txt") == {"image_id": [f"{decomposed}/{file}"]}
    (tmp_path / composed).mkdir()
    assert read(tmp_path / "l.txt") == {"image_id": [f"{composed}\\{other}"]}, "the folder that exists counts: no guess"


def test_a_name_that_two_files_may_mean_is_left_and_its_row_says_why(tmp_path: Path) -> None:
    marks = "q\u0323\u0307", "q\u0307\u0323"  # the same letter, its marks in both orders
    for name in marks:
        (tmp_path / f"{name}-\u00e9.png").touch()
    (tmp_path / "l.txt").write_text("q\u0323\u0307-e\u0301.png\n")
    found = list_images(str(tmp_path / "l.txt")).read()
    assert found["image_id"].to_pylist() == ["q\u0323\u0307-e\u0301.png"]
    with pytest.raises(PictureError, match=r"does not exist; 2 files have this name in another form of Unicode"):
        read_bytes(found["uri"][0].as_py())
    with pytest.raises(PictureError, match=r"does not exist; it has backslashes; write '/' between folders$"):
        read_bytes(f"{tmp_path}/imgs\\a.png")
    with pytest.raises(PictureError, match=r"does not exist$"):
        read_bytes(f"{tmp_path}/nothing.png")


def test_one_file_that_a_list_spells_in_two_ways_is_named_twice(tmp_path: Path) -> None:
    composed, decomposed = forms("zoé.png")
    (tmp_path / decomposed).touch()
    (tmp_path / "l.txt").write_text(f"{composed}\n{decomposed}\n")
    with pytest.raises(SourceError, match="twice, in line 1 and line 2; remove one"):
        list_images(str(tmp_path / "l.txt"))


def test_keys_are_found_in_another_spelling(s3: Any, s3_bucket: str, monkeypatch: pytest.MonkeyPatch) -> None:
    (composed, decomposed), (both, other) = forms("sets/zoé.png"), forms("sets/â.png")
    for key in (decomposed, both, other, "sets/imgs/a.png", "sets/imgs\\b.png", "sets/imgs/b.png"):
        s3.client().put_object(Bucket=s3_bucket, Key=key, Body=b"x")
    url = f"s3://{s3_bucket}"
    absent = composed[:-4]
    lines = [composed, both, other, "sets/imgs\\a.png", "sets/imgs\\b.png", "sets/imgs\\none.png", f"{url}/{absent}"]
    s3.client().put_object(Bucket=s3_bucket, Key="l.txt", Body="\n".join(lines).encode())
    expected = [decomposed, both, other, "sets/imgs/a.png", "sets/imgs\\b.png", "sets/imgs\\none.png", absent]
    assert sorted(read(Path("l.txt"), where=url)["image_id"]) == sorted(expected)
    with pytest.raises(PictureError, match="give the key as it is stored"):
        read_bytes(f"{url}/sets/imgs\\none.png")
    monkeypatch.setattr(spellings, "MOST_KEYS", 5)
    assert sorted(read(Path("l.txt"), where=url)["image_id"]) == sorted([*lines[:-1], composed[:-4]]), (
        "too many to list"
    )


def test_keys_are_listed_only_where_a_name_may_be_spelt_otherwise(s3: Any) -> None:
    url = "s3://nobody-has-this-bucket"
    found = spellings.StoredSpellings(url)
    assert found.existing([f"{url}/a.png", f"{url}/a.png"]) == f"{url}/a.png"
    with pytest.raises(StorageError, match="nobody-has-this-bucket"):
        found.existing([f"{url}/é.png", f"{url}/é.png"])


@pytest.mark.parametrize("name", ["set.parquet", "parts"])
def test_a_folder_of_parquet_files_is_one_list(tmp_path: Path, name: str) -> None:
    folder = tmp_path / name
    folder.mkdir()
    for number in range(3):
        rows = pa.table({"path": [f"{number}.png", f"{number + 3}.png"], "n": [number, number + 3]})
        pq.write_table(rows, folder / f"part-{number}.parquet")
    (folder / "_SUCCESS").touch()
    table = list_images(str(folder)).read()
    assert table["image_id"].to_pylist() == [f"{number}.png" for number in range(6)]
    assert table["n"].to_pylist() == list(range(6))
    base = tmp_path if name.endswith(".parquet") else folder
    assert table["uri"][0].as_py() == f"{base}/0.png"
    pq.write_table(pa.table({"path": ["0.png"], "n": [0]}), folder / "part-3.parquet")
    with pytest.raises(SourceError, match=r"names '0\.png' twice, in row 1 and row 1 of part-3\.parquet"):
        list_images(str(folder))
    pq.write_table(pa.table({"path": ["9.png"], "m": [0]}), folder / "part-3.parquet")
    with pytest.raises(SourceError, match=r"part-3\.parquet' has other columns than"):
        list_images(str(folder))
    (folder / "a.png").touch()
    assert list_images(str(folder)).num_rows == 6, "with another file it is a folder of files"


def test_two_slashes_in_keys_are_left_as_they_are(s3: Any, s3_bucket: str) -> None:
    for key, lines in (("sets/l.txt", "a//b.png\n/c.png\n./d.png\n../e//f.png\n"), ("l.txt", "x//y.png\n../z.png\n")):
        s3.client().put_object(Bucket=s3_bucket, Key=key, Body=lines.encode())
    uris = list_images(f"s3://{s3_bucket}/sets/l.txt").read()["uri"].to_pylist()
    assert sorted(uris) == [
        "/c.png", *(f"s3://{s3_bucket}/{key}" for key in ("e//f.png", "sets/a//b.png", "sets/d.png"))
    ]  # fmt: skip
    uris = list_images(f"s3://{s3_bucket}/l.txt").read()["uri"].to_pylist()
    assert uris == [f"s3://{s3_bucket}/{key}" for key in ("x//y.png", "z.png")]


def test_ids_are_read_from_whatever_a_query_or_an_editor_writes(tmp_path: Path, lists: Path) -> None:
    assert read_ids(str(lists / "ids-bom.txt")) == TWO
    for name, text in {
        "ids.txt": 'loss,image_id\n1.5,"b, 1.png"\n2,007\n',
        "ids.csv": 'image_id\n"b, 1.png"\n007\n',
        "ids.tsv": "image_id\tn\nb, 1.png\t\n007\t3\n",
        "ids.jsonl": '{"image_id": "b, 1.png"}\n{"image_id": "007"}\n',
        "plain.txt": "b, 1.png\n007\n",
        "unknown.lst": "b, 1.png\n007\n",
    }.items():
        (tmp_path / name).write_text(text)
        assert read_ids(str(tmp_path / name)) == ["b, 1.png", "007"], name
    pq.write_table(pa.table({"image_id": ["b, 1.png", "007"], "n": [1, 2]}), tmp_path / "ids.parquet")
    assert read_ids(str(tmp_path / "ids.parquet")) == ["b, 1.png", "007"]
    (tmp_path / "ids.csv").write_text("name\nx\n")
    with pytest.raises(SourceError, match="has no column of image ids; it has name"):
        read_ids(str(tmp_path / "ids.csv"))


def test_edit_lists_are_read_as_other_lists_are(tmp_path: Path) -> None:
    expected = [ListedEdit(("007", "b.png"), (0.0, 0.5))]
    for name, text in {
        "l.csv": "\ufefffrom;to;strengths\n007;b.png;0 0,5\n".replace("0,5", "0.5"),
        "l.tsv": "from\tto\tstrengths\n007\tb.png\t0 0.5\n",
        "l.jsonl": '{"from": "007", "to": "b.png", "strengths": [0, 0.5]}\n',
        "l.txt": "from,to,strengths\n007,b.png,0 0.5\n",
    }.items():
        (tmp_path / name).write_text(text)
        assert read_edit_list(str(tmp_path / name), ("from", "to")) == expected, name
    (tmp_path / "l.txt").write_text("a.png b.png\n")
    with pytest.raises(SourceError, match="is no edit list: its first line must name the columns from, to"):
        read_edit_list(str(tmp_path / "l.txt"), ("from", "to"))
