"""Parquet files whose rows hold images, as Hugging Face and img2dataset write them."""

from __future__ import annotations

from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from i2s_batch.errors import PictureError, SourceError
from i2s_batch.sources import parquet_images
from i2s_batch.sources.image_bytes import read_bytes
from i2s_batch.sources.options import SourceOptions
from tests.storage.archive_files import contents, listed, png

IMAGES = [png(number) for number in range(40)]


def write(path: Path, columns: dict[str, object], rows: int = 7) -> Path:
    pq.write_table(pa.table(columns), path, row_group_size=rows)
    return path


def test_rows_of_hugging_face_and_img2dataset(tmp_path: Path) -> None:
    structs = [{"bytes": data, "path": f"x/{number:02d}.png"} for number, data in enumerate(IMAGES)]
    rows = listed(write(tmp_path / "hf.parquet", {"label": list(range(40)), "image": structs}))
    assert contents(rows) == {f"hf.parquet/x/{number:02d}.png": data for number, data in enumerate(IMAGES)}
    assert [row["label"] for row in rows.values()] == list(range(40))
    columns = {"jpg": IMAGES, "key": [f"{number:09d}" for number in range(40)], "url": ["https://host/a.jpg"] * 40}
    rows = listed(write(tmp_path / "i2d.parquet", columns))
    assert contents(rows) == {f"i2d.parquet/{number:08d}": data for number, data in enumerate(IMAGES)}
    (tmp_path / "two").mkdir()
    for name in ("b", "a"):
        write(tmp_path / "two" / f"{name}.parquet", {"image": structs})
    for source in (tmp_path / "two", tmp_path / "two" / "*.parquet", tmp_path / "two" / "{a,b}.parquet"):
        assert sorted(listed(source)) == [f"{name}.parquet/x/{n:02d}.png" for name in "ab" for n in range(40)]


def test_datasets_writes_what_is_read(tmp_path: Path) -> None:
    datasets = pytest.importorskip("datasets")
    features = datasets.Features({"image": datasets.Image(), "n": datasets.Value("int64")})
    made = datasets.Dataset.from_dict({"image": [{"bytes": data, "path": None} for data in IMAGES], "n": range(40)})
    made.cast(features).to_parquet(tmp_path / "d.parquet")
    rows = listed(tmp_path / "d.parquet")
    assert list(contents(rows).values()) == IMAGES and rows["d.parquet/00000012"]["n"] == 12


def test_which_column_holds_the_images(tmp_path: Path) -> None:
    said: list[str] = []
    both = {"image": IMAGES[:3], "mask": [{"bytes": b"m"}] * 3, "mask2": [{"bytes": b"m"}] * 3}
    path = write(tmp_path / "t.parquet", both)
    with pytest.raises(SourceError, match="several columns of bytes, mask, mask2; choose one with --image-column NAME"):
        listed(path)
    rows = listed(path, SourceOptions(image_column="image"), said)
    assert list(contents(rows).values()) == IMAGES[:3] and set(rows["t.parquet/00000000"]) == {"uri"}
    assert [line.partition(" of ")[0] for line in said] == ["the column 'mask'", "the column 'mask2'"]
    with pytest.raises(SourceError, match="has no column 'none'; it has image, mask, mask2"):
        listed(path, SourceOptions(image_column="none"))
    write(path, {"thumbnail": IMAGES[:1], "path": ["x.png"], "n": [1]})
    assert list(listed(path)) == ["x.png"], "a column of paths decides where nothing surely is an image"
    assert list(listed(path, SourceOptions(image_column="thumbnail"))) == ["t.parquet/00000000"]
    with pytest.raises(SourceError, match="column 'n' holds int64; it must hold images, as bytes"):
        listed(path, SourceOptions(image_column="n"))
    write(path, {"whatever": IMAGES[:1], "n": [1]})
    assert list(listed(path)) == ["t.parquet/00000000"]


def test_nulls_doubled_paths_and_nested_garbage(tmp_path: Path) -> None:
    structs = [{"bytes": png(1), "path": "a.png"}, None, {"bytes": None, "path": "c.png"}, {"bytes": b"", "path": None}]
    rows = listed(write(tmp_path / "t.parquet", {"image": structs, "deep": [[{"x": [1]}], None, [], [{"x": None}]]}))
    assert list(rows) == [f"t.parquet/{name}" for name in ("00000001", "00000003", "a.png", "c.png")]
    assert read_bytes(str(rows["t.parquet/a.png"]["uri"])) == png(1)
    assert read_bytes(str(rows["t.parquet/00000003"]["uri"])) == b""
    for name in ("00000001", "c.png"):
        with pytest.raises(PictureError, match=f"'{name}' in .* is null"):
            read_bytes(str(rows[f"t.parquet/{name}"]["uri"]))
    doubled = [{"bytes": png(number), "path": "image.png"} for number in range(3)]
    assert list(listed(write(tmp_path / "t.parquet", {"image": doubled}))) == [
        f"t.parquet/0000000{n}" for n in range(3)
    ]
    escaping = [{"bytes": png(1), "path": "../../x.png"}, {"bytes": png(1), "path": "/etc/x.png"}]
    rows = listed(write(tmp_path / "t.parquet", {"image": escaping}))
    assert list(rows) == ["t.parquet/%2E%2E/%2E%2E/x.png", "t.parquet/etc/x.png"]
    colliding = [{"bytes": png(1), "path": "a.png"}, {"bytes": png(1), "path": "./a.png"}]
    with pytest.raises(SourceError, match=r"holds 't.parquet/a.png' twice, at '\S+=0\+0\+0/a.png' and at '\S+=0\+1\+0"):
        listed(write(tmp_path / "t.parquet", {"image": colliding}))


def test_damaged_files_are_rows_or_one_line(tmp_path: Path) -> None:
    folder = tmp_path / "d"
    folder.mkdir()
    good = write(folder / "good.parquet", {"image": [{"bytes": data, "path": None} for data in IMAGES]})
    (folder / "bad.parquet").write_bytes(good.read_bytes()[:-50])
    rows = listed(folder)
    assert len(rows) == 41
    with pytest.raises(PictureError, match=r"bad.parquet': the archive cannot be read from byte 0 on"):
        read_bytes(str(rows["bad.parquet"]["uri"]))
    data = bytearray(good.read_bytes())
    data[4:2000] = bytes(1996)  # the pages of the first images, which the plan does not read
    good.write_bytes(data)
    rows = listed(folder)
    with pytest.raises(PictureError, match=r"good.parquet' is damaged, or was written again"):
        read_bytes(str(rows["good.parquet/00000000"]["uri"]))
    assert read_bytes(str(rows["good.parquet/00000039"]["uri"])) == IMAGES[39]
    write(good, {"image": [{"bytes": png(1), "path": None}]})
    with pytest.raises(PictureError, match=r"has no row|no row group"):
        read_bytes(str(rows["good.parquet/00000039"]["uri"]))
    assert read_bytes(str(rows["good.parquet/00000000"]["uri"])) == png(1), "a file that was replaced is read anew"


def test_a_row_group_is_read_once_for_neighbours(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    rows = listed(write(tmp_path / "t.parquet", {"image": IMAGES}, rows=20))
    opened: list[str] = []
    original = parquet_images.open_parquet
    monkeypatch.setattr(parquet_images, "open_parquet", lambda uri: opened.append(uri) or original(uri))
    uris = [str(row["uri"]) for row in rows.values()]
    assert [read_bytes(uri) for uri in uris] == IMAGES and len(opened) == 2, "two row groups"
    assert [read_bytes(uri) for uri in reversed(uris)] == IMAGES[::-1] and len(opened) == 2
