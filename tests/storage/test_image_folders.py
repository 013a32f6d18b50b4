"""The folders of img2dataset as SOURCE: what lies beside an image becomes its columns, as in the tar form."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from i2s_batch.sources.options import SourceOptions
from i2s_batch.sources.source import list_images
from i2s_batch.table.list_condition import list_condition
from tests.material import upload
from tests.storage.archive_files import contents, listed, png, run, write_samples


def files_form(folder: Path) -> dict[str, bytes]:
    """Write 00000/000.png, .json and .txt, 00000.parquet and 00000_stats.json, as img2dataset's `files` does."""
    images = write_samples(folder / "as-x")
    shutil.move(folder / "as-x" / "x", folder / "00000")
    (folder / "as-x").rmdir()
    rows = [json.loads(path.read_text()) for path in sorted((folder / "00000").glob("*.json"))]
    pq.write_table(pa.Table.from_pylist(rows), folder / "00000.parquet")
    (folder / "00000_stats.json").write_text('{"count": 4}')
    return {name.replace("x/", "00000/"): data for name, data in images.items()}


def test_folders_of_img2dataset_have_the_columns_of_the_tar_form(tmp_path: Path) -> None:
    images = files_form(tmp_path / "laion")
    run("tar", "cf", tmp_path / "00000.tar", "-C", tmp_path / "laion" / "00000", ".")
    said: list[str] = []
    rows = listed(tmp_path / "laion", report=said)
    assert contents(rows) == images
    assert said == [f"2 files about the folders of img2dataset in {str(tmp_path / 'laion')!r} are left out"]
    tarred = {name.replace("00000.tar", "00000"): row for name, row in listed(tmp_path / "00000.tar").items()}
    assert {name: row | {"uri": ""} for name, row in rows.items()} == {
        name: row | {"uri": ""} for name, row in tarred.items()
    }
    assert rows["00000/003.png"] | {"uri": ""} == {
        "uri": "", "caption": "no 3", "list_width": 8, "score": 0.75, "txt": "no 3",
    }  # fmt: skip
    where = "score > 0.3"
    found = list_images(str(tmp_path / "laion"), None, SourceOptions(where=where), condition=list_condition(where))
    assert found.read()["image_id"].to_pylist() == ["00000/002.png", "00000/003.png"]


def test_objects_of_a_prefix_too(tmp_path: Path, s3: Any, s3_bucket: str) -> None:
    files_form(tmp_path / "laion")
    upload(tmp_path / "laion", f"s3://{s3_bucket}/laion")
    local, stored = listed(tmp_path / "laion"), listed(f"s3://{s3_bucket}/laion")
    assert {name: row | {"uri": ""} for name, row in stored.items()} == {
        name: row | {"uri": ""} for name, row in local.items()
    }


def test_what_does_not_belong_to_such_a_folder_is_a_file_like_others(tmp_path: Path) -> None:
    folder = tmp_path / "in"
    files_form(folder)
    for name, data in {
        "00000/000.json": b"{broken",
        "00000/alone.json": b'{"k": 1}',
        "00001/a.png": png(7),
        "00001/a.json": b'{"k": 2}',
        "x_stats.json": b"{}",
    }.items():
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).write_bytes(data)
    said: list[str] = []
    rows = listed(folder, report=said)
    ids = {"00000/alone.json", "00001/a.png", "00001/a.json", "x_stats.json", *(f"00000/00{n}.png" for n in range(4))}
    assert set(rows) == ids and rows["00001/a.png"]["caption"] is None and rows["00000/000.png"]["caption"] is None
    assert rows["00000/000.png"]["txt"] is None
    assert any(line.startswith("1 image of") and "cannot be read; its columns are null" in line for line in said)
    (folder / "00000_stats.json").unlink()
    plain = listed(folder)
    assert {"00000/000.json", "00000/000.txt", "00000.parquet"} <= set(plain), "nothing is opened before the run"
    assert set(plain["00000/001.png"]) == {"uri"}
