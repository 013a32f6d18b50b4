"""Runs over archives: what is done is not read again, an update finds what is new or changed, a source may move."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path

import pytest

from i2s_batch.api.reports import write_report
from i2s_batch.config import EmbedConfig, EmbedRunConfig
from i2s_batch.embedding.embed_run import EmbedRunRequest
from i2s_batch.embedding.single_image import embed_image
from i2s_batch.maintenance.verification.table_checks import check_table
from i2s_batch.sources import image_bytes
from i2s_batch.studies.catalogue import variant_settings
from i2s_batch.table.shards import read_table
from tests.material import scene
from tests.runs import embed, rows_written
from tests.storage.archive_files import run

CONFIG = EmbedRunConfig(embed=EmbedConfig(steps=1), batch_size=4, shard_size=2)


def pack(folder: Path, name: str, *images: int, side: int = 24) -> None:
    """Pack images into a new archive by tar or zip; each is named by its number."""
    path, inside = folder / name, folder.parent / "images"
    inside.mkdir(exist_ok=True)
    folder.mkdir(exist_ok=True)
    path.unlink(missing_ok=True)
    for number in images:
        scene(number, (side, side)).save(inside / f"{number}.png")
    names = [f"{number}.png" for number in images]
    run(*(("tar", "cf") if name.endswith("tar") else ("zip", "-q")), path, *names, cwd=inside)


def test_a_run_over_archives_is_resumed_updated_verified_and_moved(
    tmp_path: Path, generator: Path, vgg: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shards = tmp_path / "shards"
    pack(shards, "a.tar", 0, 1)
    pack(shards, "b.zip", 2)
    job = EmbedRunRequest(str(shards), str(tmp_path / "out"), str(generator), str(vgg), CONFIG)
    written, read = rows_written(monkeypatch), []
    original = image_bytes.read_range
    monkeypatch.setattr(image_bytes, "read_range", lambda *where: read.append(where) or original(*where))
    embed(job)
    assert sorted(written) == ["a.tar/0.png", "a.tar/1.png", "b.zip/2.png"] and len(set(read)) == 3
    read.clear()
    embed(job)
    assert len(written) == 3 and read == [], "a resumed run reads nothing that is done"

    written.clear()
    pack(shards, "c.tar", 4)
    pack(shards, "a.tar", 5, 1)  # 0 is gone, 1 lies elsewhere in the tar now
    scene(7, (24, 24)).save(tmp_path / "images" / "2.png")
    (shards / "b.zip").unlink()
    run("zip", "-q", shards / "b.zip", "2.png", cwd=tmp_path / "images")  # another image of the same name
    embed(replace(job, config=replace(CONFIG, grow=True)))
    assert sorted(written) == ["a.tar/5.png", "b.zip/2.png", "c.tar/4.png"]
    rows = {row["image_id"]: row for row in read_table(job.out).to_pylist()}
    assert [name for name, row in rows.items() if row["vanished_at"]] == ["a.tar/0.png"]
    assert check_table(job.out, variant_settings, 8).sound

    nearest = embed_image(job.out, str(rows["c.tar/4.png"]["uri"]))
    assert nearest.image_id == "c.tar/4.png"
    pack(shards, "a.tar", 5, 1, 0)  # a source that has moved holds all that was read
    shutil.move(shards, tmp_path / "moved")
    said: list[str] = []
    embed(replace(job, source=str(tmp_path / "moved"), config=replace(CONFIG, source_moved=True)), said=said)
    assert any(line.endswith("images were looked at there, and are the same") for line in said), said
    assert "gone" not in Path(str(write_report(job.out))).read_text().partition("a.tar/5.png")[2][:400]
