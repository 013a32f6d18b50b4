from __future__ import annotations

import itertools
import random
from pathlib import Path

import pytest

from i2s_batch.output.layout import RunLayout, file_name
from i2s_batch.storage import open_store


def test_keys_and_back() -> None:
    layout = RunLayout
    assert layout.shard(3) == "latents/shard-00003.parquet"
    assert layout.row(250) == "work/rows/00000/00000250.arrow"
    assert layout.row(2500) == "work/rows/00002/00002500.arrow"
    assert layout.row(250).startswith(layout.all_rows_prefix)
    assert layout.checkpoint(7) == "work/checkpoints/00000007.npz"
    assert layout.checksum(3) == "manifest/checksums/shard-00003.json"
    assert layout.publishing(3).startswith(layout.publishing_prefix)
    for index in (0, 99, 100, 12_345_678, 123_456_789):
        assert RunLayout.row_index(layout.row(index)) == index
        assert RunLayout.checkpoint_index(layout.checkpoint(index)) == index
        assert RunLayout.shard_index(layout.shard(index)) == index
        assert RunLayout.publishing_index(layout.publishing(index)) == index
    for key in ("latents/other.parquet", "work/deaths.json", "work/rows/x", "latents/shard-1.parquet"):
        assert RunLayout.row_index(key) is None
        assert RunLayout.checkpoint_index(key) is None
        assert RunLayout.shard_index(key) is None
        assert RunLayout.publishing_index(key) is None


ORDINARY = ["a.png", "b/a.png", "_other", "_other.jpg/x", "b/_other/c", ".hidden", "b/...", "x y\n/%41.jpg", "n" * 251]
NO_PATHS = [
    *("", "/", ".", "..", "/a.png", "../a.png", "b/../a.png", "b//a.png", "b/", "./a%FF.png", "b/./a.png"),
    *(
        "s3://bucket/a.png",
        "/tmp/a.png",
        "_other/a",
        "a.png/b",
        "b/c.png/d",
        "n" * 252,
        "n/" * 500 + "n",
        "a\0b",
        "\udcff",
    ),
]


def test_a_name_of_an_id_that_can_be_a_path_is_that_path() -> None:
    for image_id in ORDINARY:
        assert file_name(image_id, "png") == f"{image_id}.png"
    assert RunLayout.picture("b/a.png", "webp") == "pictures/b/a.png.webp"
    assert RunLayout.altered("b/a.png") == "inputs/b/a.png.png"
    assert RunLayout.animation("a-b-0123", "mp4") == "animations/a-b-0123.mp4"
    assert file_name("clip.mp4/000123", "png") == "clip.mp4/000123.png", "only its own suffix can be another's file"


def test_an_id_that_cannot_be_a_path_has_a_name_below_the_folder_all_the_same() -> None:
    for image_id in NO_PATHS:
        folder, name = file_name(image_id, "jpeg" if ".png/" not in image_id else "png").split("/")
        assert folder == "_other" and len(name.encode()) < 140 and name.isascii()


def test_two_ids_never_share_a_file_and_every_name_can_be_written(tmp_path: Path) -> None:
    stream = random.Random(3)
    parts = ["", ".", "..", "a", "a.png", "_other", "ä", "n" * 251, "n" * 255, "s3:"]
    drawn = ["/".join(stream.choices(parts, k=stream.randint(1, 4))) for _ in range(400)]
    ids = {*ORDINARY, *NO_PATHS, *drawn}
    ids |= {file_name(image_id, "png").removesuffix(".png") for image_id in ids}  # names of files, as ids
    store = open_store(str(tmp_path / "out"))
    for image_id in ids:
        store.put(RunLayout.picture(image_id, "png"), image_id.encode("utf-8", "surrogatepass"))
    for image_id in ids:
        assert store.get(RunLayout.picture(image_id, "png")) == image_id.encode("utf-8", "surrogatepass")
    assert [path.name for path in tmp_path.iterdir()] == ["out"] and len(list(store.list())) == len(ids)
    for one, other in itertools.permutations(map(RunLayout.altered, ids), 2):
        assert not other.startswith(f"{one}/")


@pytest.mark.parametrize("image_id", ["../a.png", "/a.png", "b//a.png"])
def test_what_a_local_folder_refuses_is_never_asked_of_it(image_id: str, tmp_path: Path) -> None:
    assert open_store(str(tmp_path)).uri(RunLayout.altered(image_id)).startswith(f"{tmp_path}/inputs/_other/")


def test_only_keys_that_are_spelt_as_a_run_spells_them_are_its_own() -> None:
    work = [RunLayout.row(2500), RunLayout.checkpoint(7), RunLayout.publishing(3), RunLayout.lease, RunLayout.deaths]
    work.append(f"work/probe-{'0a' * 16}")
    assert all(map(RunLayout.is_work, work))
    for key in (
        *("work/thesis.tex", "work/", "work", "", "work/rows/00002/", "work/rows/00002/2500.arrow", "lease.json"),
        *("work/rows/00001/00002500.arrow", "work/rows/00000/0000000001.arrow", "work/checkpoints/٠٠٠٠٠٠٠٧.npz"),
        *("work/probe-1", "mine/work/lease.json", "work/lease.json.bak", "work/rows/00002/00002500.arrow\n"),
        *(f"work/probe-{'0A' * 16}", "work/publishing/shard-0.json", "latents/shard-00000.parquet"),
    ):
        assert not RunLayout.is_work(key), key


def test_what_a_run_keeps_to_itself() -> None:
    for key in (
        "run.json",
        "report.html",
        "study.md",
        "latents/x",
        "work/x",
        "pictures/a/b.png",
        "manifest",
        "inputs/x",
    ):
        assert RunLayout.names(key), key
    for key in ("notes.txt", "morphs/run.json", "latents.csv", "", "run.json.bak"):
        assert not RunLayout.names(key), key
    assert all(map(RunLayout.is_folder, ("", "work", "work/rows/00000", "pictures/a/b", "figures")))
    assert not any(map(RunLayout.is_folder, ("mine", "mine/work", "working")))
