"""Which pictures SOURCE holds: folders, patterns, lists, S3; and reading one of them."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from i2s_batch.errors import PictureError, SourceError, StorageError
from i2s_batch.sources.image_bytes import read_bytes
from i2s_batch.sources.names import path_of_image_id, path_of_uri
from i2s_batch.sources.source import list_images
from tests.material import open_to_others, without_power


def fill(folder: Path, *names: str) -> None:
    for name in names:
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(name.encode())


def ids(source: str | Path, exclude: str | None = None) -> list[str]:
    table = list_images(str(source), exclude).read()
    assert table["image_id"].to_pylist() == sorted(set(table["image_id"].to_pylist()), key=str.encode)
    assert table.column("uri").type == pa.string()
    return table["image_id"].to_pylist()


def test_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fill(tmp_path, "b.png", "a/z.jpg", "a.b/q.png", "notes.md", "é/ü.png", "x y%20z.png")
    fill(tmp_path, ".hidden.png", ".git/x.png", "Thumbs.db", "a/desktop.ini", "__MACOSX/b.png")
    expected = ["a.b/q.png", "a/z.jpg", "b.png", "notes.md", "x y%20z.png", "é/ü.png"]
    assert ids(tmp_path) == expected
    assert ids(f"{tmp_path}/") == expected
    monkeypatch.chdir(tmp_path.parent)
    table = list_images(tmp_path.name).read()
    assert table["uri"].to_pylist() == [f"{tmp_path}/{name}" for name in expected]
    assert [read_bytes(uri) for uri in table["uri"].to_pylist()] == [name.encode() for name in expected]


def test_links_are_followed_once_and_loops_end(tmp_path: Path) -> None:
    outside = tmp_path / "outside"
    fill(outside, "o.png", "deep/p.png")
    root = tmp_path / "root"
    fill(root, "a/x.png", "b/y.png")
    (root / "loop").symlink_to(root)
    (root / "a" / "up").symlink_to("..")
    (root / "a" / "to_b").symlink_to("../b")
    (root / "b" / "to_a").symlink_to("../a")
    (root / "self").symlink_to("self")
    (root / "gone.png").symlink_to("nowhere.png")
    (root / "alias.png").symlink_to("a/x.png")
    (root / "away").symlink_to(outside)
    (outside / "back").symlink_to(root)
    expected = ["a/x.png", "alias.png", "away/deep/p.png", "away/o.png", "b/y.png", "gone.png", "self"]
    assert ids(root) == expected
    assert ids(f"{root}/**") == expected
    assert ids(f"{root}/**/*.png") == expected[:-1]
    assert ids(root / "loop") == expected
    for name in ("gone.png", "self"):
        with pytest.raises(PictureError, match=name):
            read_bytes(str(root / name))


def test_pipes_are_not_opened(tmp_path: Path) -> None:
    fill(tmp_path, "a.png")
    os.mkfifo(tmp_path / "pipe.png")
    assert ids(tmp_path) == ["a.png"]
    assert ids(f"{tmp_path}/*.png") == ["a.png"]
    with pytest.raises(PictureError, match="is a pipe"):
        read_bytes(str(tmp_path / "pipe.png"))
    with pytest.raises(SourceError, match="is a pipe"):
        list_images(str(tmp_path / "pipe.png"))


def test_names_that_are_not_utf8(tmp_path: Path) -> None:
    names = [b"caf\xe9 100%.png", b"caf%E9 100%.png", "café.png".encode(), b"d\xff/x.png", b"plain.png"]
    for name in names:
        path = tmp_path / os.fsdecode(name)
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(name)
    table = list_images(str(tmp_path)).read()
    found = table["image_id"].to_pylist()
    assert "./caf%E9 100%25.png" in found
    assert "./d%FF/x.png" in found
    assert sorted(os.fsencode(path_of_image_id(image_id)) for image_id in found) == sorted(names)
    assert sorted(read_bytes(uri) for uri in table["uri"].to_pylist()) == sorted(names)
    assert all(Path(path_of_uri(uri)).exists() for uri in table["uri"].to_pylist())
    json.dumps(found).encode()
    listed = tmp_path / "list.txt"
    listed.write_bytes(b"\n".join(names))
    again = list_images(str(listed)).read()
    assert again["image_id"].to_pylist() == found
    assert again["uri"].to_pylist() == table["uri"].to_pylist()


def test_patterns(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    root = tmp_path / "pics"
    fill(root, "a/1.png", "a/2.jpg", "b/3.png", "b/c/4.png", "5.png", ".h/6.png", "__MACOSX/7.png")
    assert ids(f"{root}/*/*.png") == ["a/1.png", "b/3.png"]
    assert ids(f"{root}/**/*.png") == ["5.png", "a/1.png", "b/3.png", "b/c/4.png"]
    assert ids(f"{root}/b/**/*.png") == ["3.png", "c/4.png"]
    assert ids(f"{root}/*/**/*.png") == ["a/1.png", "b/3.png", "b/c/4.png"]
    assert ids(f"{root}/[ab]/?.png") == ["a/1.png", "b/3.png"]
    monkeypatch.chdir(root)
    assert ids("*.png") == ["5.png"]
    assert ids("**/4.png") == ["b/c/4.png"]
    assert list_images("./**/4.png").read()["uri"].to_pylist() == [str(root / "b/c/4.png")]
    with pytest.raises(SourceError, match=r"'\*.gif' holds no files"):
        list_images("*.gif")


def test_a_folder_whose_name_looks_like_a_pattern(tmp_path: Path) -> None:
    fill(tmp_path, "set [1]/a.png")
    assert ids(tmp_path / "set [1]") == ["a.png"]


def test_single_picture(tmp_path: Path) -> None:
    fill(tmp_path, "a.png")
    assert list_images(str(tmp_path / "a.png")).read().to_pylist() == [
        {"image_id": "a.png", "uri": f"{tmp_path}/a.png"}
    ]


def test_missing_and_empty_sources(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    with pytest.raises(SourceError, match="empty' holds no files; give a folder"):
        list_images(str(tmp_path / "empty"))
    for name in ("missing", "missing.txt"):
        with pytest.raises(SourceError, match=f"{name}' does not exist"):
            list_images(str(tmp_path / name))
    with pytest.raises(SourceError, match="cannot be read"):
        list_images("ftp://host/pictures/")


def test_output_inside_source_is_left_out(tmp_path: Path) -> None:
    fill(tmp_path, "a.png", "out/report.html", "out/latents/shard-00000.parquet", "out-2/b.png")
    out = str(tmp_path / "out")
    assert ids(tmp_path, out) == ["a.png", "out-2/b.png"]
    assert ids(f"{tmp_path}/**", out) == ["a.png", "out-2/b.png"]
    assert ids(f"{tmp_path}/*/*", out) == ["out-2/b.png"]
    assert ids(tmp_path, str(tmp_path / "not-yet")) == ids(tmp_path)
    with pytest.raises(SourceError, match="both SOURCE and OUT"):
        list_images(out, out)


def test_output_is_left_out_whatever_link_leads_into_it(tmp_path: Path) -> None:
    fill(tmp_path, "in/a.png", "in/out/pictures/b.png", "in/out/work/c.png", "elsewhere/d.png", "in/x/e.png")
    top, out = tmp_path / "in", tmp_path / "in" / "out"
    (tmp_path / "to-out").symlink_to(out)
    for name, target in (
        ("folder", out / "pictures"),
        ("b.png", "out/pictures/b.png"),
        ("later.png", "out/pictures/not-yet.png"),
        ("twice", "folder"),
        ("whole", tmp_path / "to-out"),
        ("elsewhere", tmp_path / "elsewhere"),
        ("x/up", ".."),
    ):
        (top / name).symlink_to(target)
    for exclude in (out, tmp_path / "to-out", f"{top}/x/../out/", f"{out}/work/.."):
        assert ids(top, str(exclude)) == ["a.png", "elsewhere/d.png", "x/e.png"]
        assert ids(f"{top}/**", str(exclude)) == ["a.png", "elsewhere/d.png", "x/e.png"]
        assert ids(f"{top}/*/*.png", str(exclude)) == ["elsewhere/d.png", "x/e.png"]


@pytest.mark.parametrize(
    "source", ["work", "work/", "work/a.png", "work/*.png", "w*/**", "./work/../work", "link", "link/a.png"]
)
def test_a_source_in_its_output_is_refused(tmp_path: Path, source: str, monkeypatch: pytest.MonkeyPatch) -> None:
    fill(tmp_path, "data/work/a.png", "data/work/b/c.png")
    (tmp_path / "data" / "link").symlink_to("work")
    (tmp_path / "out").symlink_to("data")
    monkeypatch.chdir(tmp_path / "data")
    for out in (tmp_path / "data", tmp_path / "out", ".", "work/..", "../data/"):
        for spelt in (source, str(tmp_path / "data" / source), str(tmp_path / "out" / source)):
            with pytest.raises(SourceError, match=r"lies in OUT|both SOURCE and OUT"):
                list_images(spelt, str(out))
    assert list_images("work", str(tmp_path / "data" / "wor")).num_rows == 2


def test_a_list_that_names_something_in_the_output_is_refused(tmp_path: Path) -> None:
    fill(tmp_path, "out/pictures/a.png", "in/b.png")
    (tmp_path / "link").symlink_to("out")
    for line in (
        "out/pictures/a.png",
        "in/../out/pictures/a.png",
        "link/pictures/not-yet.png",
        f"{tmp_path}/out/a.png",
    ):
        (tmp_path / "l.txt").write_text(f"in/b.png\n{line}\n")
        for out in (tmp_path / "out", tmp_path / "link"):
            with pytest.raises(
                SourceError, match=r"l\.txt' names '.*\.png', which lies in OUT; remove it from the list"
            ):
                list_images(str(tmp_path / "l.txt"), str(out))
    (tmp_path / "out" / "l.txt").write_text("../in/b.png\n")
    assert list_images(str(tmp_path / "out" / "l.txt"), str(tmp_path / "out")).num_rows == 1, "a list is no image"


def test_prefixes_of_s3_in_each_other(s3: Any, s3_bucket: str) -> None:
    upload(s3, s3_bucket, "p/a.png", "p/out/b.png", "p/out-2/c.png", "p/out")
    top = f"s3://{s3_bucket}"
    assert ids(f"{top}/p", f"{top}/p/out/") == ["a.png", "out", "out-2/c.png"], "an object is no prefix"
    for source, out in (("/p/out", "/p"), ("/p/out/b.png", "/p/"), ("/p", ""), ("/p/", "/p"), ("", "")):
        with pytest.raises(SourceError, match=r"lies in OUT|both SOURCE and OUT"):
            list_images(top + source, top + out)
    s3.client().put_object(Bucket=s3_bucket, Key="l.txt", Body=b"p/a.png\np/out/b.png\n")
    with pytest.raises(SourceError, match=r"names 's3://.*p/out/b\.png', which lies in OUT"):
        list_images(f"{top}/l.txt", f"{top}/p/out")
    listed = list_images(f"{top}/l.txt", f"{top}/p/ou").read()
    assert listed["uri"].to_pylist() == [f"{top}/p/a.png", f"{top}/p/out/b.png"]
    assert listed["image_id"].to_pylist() == ["p/a.png", "p/out/b.png"]


LISTS = {
    "txt": b"\xef\xbb\xbf# pictures\r\n\r\nb.png\r\nsub/a.png\n  /abs/c.png  \n",
    "csv": b'path,code,age,score,note\nb.png,007,3,1.5,"x, y"\nsub/a.png,010,4,,\n/abs/c.png,011,5,2e3,z\n',
    "jsonl": b'{"file": "b.png", "age": 3}\n\n{"file": "sub/a.png", "tags": ["q"]}\n{"file": "/abs/c.png"}\n',
}


@pytest.mark.parametrize("kind", LISTS)
def test_lists(tmp_path: Path, kind: str) -> None:
    path = tmp_path / f"list.{kind}"
    path.write_bytes(LISTS[kind])
    table = list_images(str(path)).read()
    assert table["image_id"].to_pylist() == ["/abs/c.png", "b.png", "sub/a.png"]
    assert table["uri"].to_pylist() == ["/abs/c.png", f"{tmp_path}/b.png", f"{tmp_path}/sub/a.png"]
    carried = table.drop_columns(["image_id", "uri"]).to_pydict()
    if kind == "csv":
        assert carried == {
            "code": ["011", "007", "010"],
            "age": [5, 3, 4],
            "score": [2000.0, 1.5, None],
            "note": ["z", "x, y", None],
        }
    elif kind == "jsonl":
        assert carried == {"age": [None, 3, None], "tags": [None, None, ["q"]]}
    else:
        assert carried == {}


def test_parquet_list_carries_columns(tmp_path: Path) -> None:
    rows = pa.table({"label": pa.array(["q", "r"]).dictionary_encode(), "image": ["b.png", "a.png"], "n": [1, 2]})
    pq.write_table(rows, tmp_path / "l.parquet")
    table = list_images(str(tmp_path / "l.parquet")).read()
    assert table.drop_columns("uri").to_pydict() == {"image_id": ["a.png", "b.png"], "label": ["r", "q"], "n": [2, 1]}
    assert table["label"].type == pa.string()


@pytest.mark.parametrize(
    ("name", "content", "reason"),
    [
        ("a.csv", "id,name\n1,x\n", "has no column of paths; it has id, name; name one of them path, uri"),
        ("a.csv", "path,n,N\na.png,3,4\n", "column 'n' appears twice"),
        ("a.csv", "path,n\na.png\n", "line 2 has 1 cells; the header has 2"),
        ("a.csv", 'path\n"a.png\n', "is no CSV"),
        ("a.csv", "path,n\n,3\n", "line 2 holds ''"),
        ("a.csv", "path\n", "lists no image"),
        ("a.csv", "", "it has no columns"),
        ("a.txt", "# nothing\n", "lists no image"),
        ("a.txt", "a.png\n\n./a.png\n", "names './a.png' twice, in line 1 and line 3"),
        (
            "a.txt",
            "a.png\nftp://host/b.png\n",
            "line 2 holds 'ftp://host/b.png'; local paths and urls with s3://, gs://",
        ),
        ("a.txt", "a.png\nhttp://host/b.png\n", "line 2 holds 'http://host/b.png'; local paths and urls with"),
        ("a.txt", "https://host/b.png?token=secret\n", "line 1 holds a key to 'https://host/b.png' (a user, a query"),
        ("a.txt", "https://me:secret@host/b.png\n", "line 1 holds a key to 'https://host/b.png'"),
        ("a.txt", "a\0.png\n", "line 1 holds"),
        ("a.jsonl", '{"path": "a.png"}\n{"path":\n', "line 2 is no JSON"),
        ("a.jsonl", '["a.png"]\n', "line 1 is no JSON object"),
        ("a.jsonl", '{"path": "a.png"}\n{"path": 7}\n', "line 2 holds 7"),
        ("a.jsonl", '{"path": "a.png"}\n{"n": 7}\n', "line 2 holds ''"),
        ("a.jsonl", '{"path": "a", "n": 1}\n{"path": "b", "n": "x"}\n', "column 'n' mixes types"),
        ("a.parquet", "PAR1 no more", "is no readable Parquet file"),
    ],
)
def test_faulty_lists(tmp_path: Path, name: str, content: str, reason: str) -> None:
    (tmp_path / name).write_text(content)
    with pytest.raises(SourceError) as caught:
        list_images(str(tmp_path / name))
    assert reason in str(caught.value)
    assert name in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_list_that_is_not_utf8(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_bytes(b"path\ncaf\xe9.png\n")
    with pytest.raises(SourceError, match=r"is not UTF-8 \(byte 8\)"):
        list_images(str(tmp_path / "a.csv"))


def test_a_parquet_list_without_text_paths(tmp_path: Path) -> None:
    pq.write_table(pa.table({"image": [{"href": "x"}]}), tmp_path / "l.parquet")
    with pytest.raises(SourceError, match="column 'image' holds struct"):
        list_images(str(tmp_path / "l.parquet"))


def upload(s3: Any, bucket: str, *keys: str) -> None:
    for key in keys:
        s3.client().put_object(Bucket=bucket, Key=key, Body=b"" if key.endswith("/") else key.encode())


def test_s3_prefix(s3: Any, s3_bucket: str) -> None:
    keys = ["p/b.png", "p/sub/a?x#y%20.png", "p/sub/", "p/.hidden.png", "p/Thumbs.db", "p//odd.png"]
    upload(s3, s3_bucket, *keys, "p2/no.png", "p/out/run.json")
    for source in (f"s3://{s3_bucket}/p", f"s3://{s3_bucket}/p/"):
        table = list_images(source, f"s3://{s3_bucket}/p/out").read()
        assert table["image_id"].to_pylist() == ["/odd.png", "b.png", "sub/a?x#y%20.png"]
        for row in table.to_pylist():
            assert read_bytes(row["uri"]) == f"p/{row['image_id']}".encode()
    assert "p2/no.png" in ids(f"s3://{s3_bucket}")
    assert ids(f"s3://{s3_bucket}/p/b.png") == ["b.png"]
    with pytest.raises(SourceError, match="nothing' holds no files"):
        list_images(f"s3://{s3_bucket}/nothing")
    with pytest.raises(SourceError, match="holds no files"):
        list_images(f"s3://{s3_bucket}/p/b")
    with pytest.raises(SourceError, match="both SOURCE and OUT"):
        list_images(f"s3://{s3_bucket}/p/", f"s3://{s3_bucket}/p")


def test_s3_lists(s3: Any, s3_bucket: str, tmp_path: Path) -> None:
    content = f"b.png\n../up.png\ns3://{s3_bucket}/other/c.png\n/local/d.png\n"
    s3.client().put_object(Bucket=s3_bucket, Key="sets/list.txt", Body=content.encode())
    table = list_images(f"s3://{s3_bucket}/sets/list.txt").read()
    assert table.to_pylist() == [
        {"image_id": "/local/d.png", "uri": "/local/d.png"},
        {"image_id": "b.png", "uri": f"s3://{s3_bucket}/sets/b.png"},
        {"image_id": f"s3://{s3_bucket}/other/c.png", "uri": f"s3://{s3_bucket}/other/c.png"},
        {"image_id": f"s3://{s3_bucket}/up.png", "uri": f"s3://{s3_bucket}/up.png"},
    ]
    (tmp_path / "list.csv").write_text(f"uri,label\ns3://{s3_bucket}/x.png,q\n")
    assert list_images(str(tmp_path / "list.csv")).read().to_pylist() == [
        {"image_id": f"s3://{s3_bucket}/x.png", "uri": f"s3://{s3_bucket}/x.png", "label": "q"}
    ]
    with pytest.raises(SourceError, match=r"none.txt' does not exist"):
        list_images(f"s3://{s3_bucket}/none.txt")


def test_one_picture_that_cannot_be_read_is_a_picture_error(tmp_path: Path, s3_bucket: str) -> None:
    fill(tmp_path, "big.png")
    for uri in (str(tmp_path / "missing.png"), str(tmp_path), f"s3://{s3_bucket}/missing.png"):
        with pytest.raises(PictureError, match=uri):
            read_bytes(uri)
    with pytest.raises(PictureError, match="has 7 bytes; the limit is 6"):
        read_bytes(str(tmp_path / "big.png"), limit_bytes=6)


def test_permissions(tmp_path: Path) -> None:
    fill(tmp_path, "a.png", "sub/b.png")
    open_to_others(tmp_path)
    (tmp_path / "a.png").chmod(0)
    (tmp_path / "sub").chmod(0)
    with without_power():
        with pytest.raises(PictureError, match="permission denied"):
            read_bytes(str(tmp_path / "a.png"))
        with pytest.raises((SourceError, StorageError), match="sub': permission denied"):
            list_images(str(tmp_path))


def test_a_list_in_parts_is_the_list_as_a_whole(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Columns whose kind is seen late, keys that come late, ids in no order."""
    cells = [
        ("b.png", "1", "7", "", "12345678901234567"),
        ("a.png", "2", "x", "", "1"),
        ("c.png", "2.5", "7", "", "0.5"),
    ]
    (tmp_path / "l.csv").write_text("\n".join(map(",".join, [("path", "n", "t", "e", "long"), *cells])))
    objects = [{"file": "b", "n": 1, "s": {"x": 1}}, {"file": "a", "n": None}, {"file": "c", "n": 2.5, "s": {"y": [2]}}]
    (tmp_path / "l.jsonl").write_text("\n".join(map(json.dumps, [*objects, {"late": True, "file": "d"}])))
    numbers = pa.table({"image": list("dbca"), "n": [4, 2, 3, 1], "none": pa.nulls(4)})
    pq.write_table(numbers, tmp_path / "l.parquet", row_group_size=3)
    (tmp_path / "l.txt").write_text("d\nb\n\n#x\nc\na\n")
    lists = [str(tmp_path / f"l.{kind}") for kind in ("csv", "jsonl", "parquet", "txt")]
    whole = [list_images(source).read() for source in lists]
    monkeypatch.setattr("i2s_batch.sources.list_rows.ROWS_AT_ONCE", 1)
    for source, table in zip(lists, whole, strict=True):
        assert list_images(source).read().equals(table)
    csv, jsonl, parquet, _ = whole
    assert csv.drop_columns("uri").to_pydict() == {
        "image_id": ["a.png", "b.png", "c.png"],
        "n": [2.0, 1.0, 2.5],
        "t": ["x", "7", "7"],
        "e": [None] * 3,
        "long": ["1", "12345678901234567", "0.5"],
    }
    assert jsonl.schema.field("s").type == pa.struct([("x", pa.int64()), ("y", pa.list_(pa.int64()))])
    assert jsonl["n"].to_pylist() == [None, 1.0, 2.5, None] and jsonl["late"].to_pylist() == [None] * 3 + [True]
    assert parquet.schema.types == [pa.string(), pa.string(), pa.int64(), pa.string()]


def test_what_a_list_names_twice_is_found_across_its_parts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("i2s_batch.sources.list_rows.ROWS_AT_ONCE", 2)
    names = [f"{number}.png" for number in range(9)]
    (tmp_path / "l.txt").write_text("\n".join([*names, f"{tmp_path}/4.png", "./4.png"]))
    with pytest.raises(SourceError, match=r"l\.txt' names '.*/4\.png' twice, in line 5 and line 10; remove one"):
        list_images(str(tmp_path / "l.txt"))


def test_two_pictures_of_a_list_do_not_get_one_id(s3: Any, s3_bucket: str) -> None:
    content = f"/x.png\ns3://{s3_bucket}/sets//x.png\n".encode()
    s3.client().put_object(Bucket=s3_bucket, Key="sets/two.txt", Body=content)
    with pytest.raises(SourceError, match=r"two images that would both be '/x\.png': '/x\.png' in line 1 and 's3:.* 2"):
        list_images(f"s3://{s3_bucket}/sets/two.txt")


def test_a_csv_that_is_not_utf8_far_into_the_file(tmp_path: Path) -> None:
    start = b"path\n" + b"".join(b"%06d.png\n" % number for number in range(5000))
    (tmp_path / "a.csv").write_bytes(start + b"caf\xe9.png\n")
    with pytest.raises(SourceError, match=rf"is not UTF-8 \(byte {len(start) + 3}\)"):
        list_images(str(tmp_path / "a.csv"))
