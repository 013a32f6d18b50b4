"""`--update`: only what is new or has changed is embedded; nothing that there is, is lost."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from i2s_batch.api.verification import verify
from i2s_batch.config import EmbedConfig, EmbedRunConfig
from i2s_batch.embedding.embed_run import EmbedRun, EmbedRunRequest
from i2s_batch.errors import RunConflictError
from i2s_batch.output.work_log import WorkLog
from i2s_batch.run.status import read_status
from i2s_batch.storage import open_store
from i2s_batch.table.arrays import read_latents
from i2s_batch.table.shards import read_table
from tests.material import scene
from tests.runs import embed, rows_written

CONFIG = EmbedRunConfig(embed=EmbedConfig(steps=4), batch_size=4, shard_size=3, max_failed_fraction=1)


@pytest.fixture
def job(tmp_path: Path, generator: Path, vgg: Path) -> EmbedRunRequest:
    """A finished run over b, d, f, h and a picture that is none."""
    source = tmp_path / "in"
    source.mkdir()
    for number, name in enumerate("bdfh"):
        scene(number, (40, 40)).save(source / f"{name}.png")
    (source / "x.png").write_text("no picture")
    job = EmbedRunRequest(str(source), str(tmp_path / "out"), str(generator), str(vgg), CONFIG)
    run(job)
    return replace(job, config=replace(CONFIG, grow=True))


def run(job: EmbedRunRequest) -> list[str]:
    """What was said."""
    said: list[str] = []
    embed(job, said=said)
    return said


@pytest.fixture
def written(job: EmbedRunRequest, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    return rows_written(monkeypatch)


def rows_of(job: EmbedRunRequest) -> dict[str, dict]:
    table = read_table(job.out)
    assert table["image_id"].to_pylist() == sorted(set(table["image_id"].to_pylist()))
    return {row["image_id"]: row for row in table.to_pylist()}


def shards(job: EmbedRunRequest) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in Path(job.out, "latents").iterdir()}


def test_nothing_new_is_nothing_done(job: EmbedRunRequest, written: list[str]) -> None:
    before = shards(job)
    said = run(job)
    assert written == [] and shards(job) == before
    assert "0 images have changed, 0 are gone (their rows stay); SOURCE holds 5 now" in said


def test_new_pictures_come_into_shards_of_their_own(job: EmbedRunRequest, written: list[str]) -> None:
    before = shards(job)
    for number, name in enumerate("aceg"):
        scene(10 + number, (40, 40)).save(Path(job.source) / f"{name}.png")
    run(replace(job, config=CONFIG))
    assert written == [], "a run that is not to grow has its plan"
    what = EmbedRun(job, report=print).describe()
    assert (what.images, what.images_to_do, what.shards) == (9, 4, 4)
    run(job)
    assert sorted(written) == ["a.png", "c.png", "e.png", "g.png"]
    after = shards(job)
    assert before.items() <= after.items() and len(after) == 4
    assert list(rows_of(job)) == [*(f"{name}.png" for name in "abcdefgh"), "x.png"]
    assert read_latents(job.out).ids == [f"{name}.png" for name in "abcdefgh"]
    status = read_status(job.out, print)
    assert status.finished and status.images == 9 and status.shards == 4
    assert not verify(job.out).findings
    written.clear()
    run(replace(job, config=CONFIG))  # the plan has grown for good
    assert written == [] and len(rows_of(job)) == 9


def test_changed_pictures_are_embedded_again_and_only_those(job: EmbedRunRequest, written: list[str]) -> None:
    before = rows_of(job)
    scene(30, (40, 40)).save(Path(job.source) / "d.png")
    scene(31, (40, 40)).save(Path(job.source) / "x.png")
    (Path(job.source) / "h.png").touch()  # the same bytes
    said = run(job)
    after = rows_of(job)
    assert sorted(written) == ["d.png", "x.png"] and any("2 images have changed" in line for line in said)
    assert (
        after["d.png"]["sha256"] != before["d.png"]["sha256"] and after["d.png"]["latent"] != before["d.png"]["latent"]
    )
    assert after["x.png"]["status"] == "ok"
    assert all(after[f"{name}.png"] == before[f"{name}.png"] for name in "bfh")


def test_a_picture_that_became_unreadable_keeps_its_code(job: EmbedRunRequest, written: list[str]) -> None:
    before = rows_of(job)
    (Path(job.source) / "d.png").write_text("overwritten by accident")
    run(job)
    assert written == ["d.png"] and rows_of(job) == before


def test_rows_of_vanished_pictures_stay_and_are_marked(job: EmbedRunRequest, written: list[str]) -> None:
    before = rows_of(job)
    (Path(job.source) / "f.png").rename(Path(job.source).parent / "f.png")
    said = run(job)
    after = rows_of(job)
    assert written == [] and any("1 is gone" in line for line in said)
    assert after["f.png"]["vanished_at"] is not None and after["f.png"]["latent"] == before["f.png"]["latent"]
    assert {name for name, row in after.items() if row["vanished_at"]} == {"f.png"}
    assert verify(job.out).sound, "a shard that was marked has its new checksum"
    first = after["f.png"]["vanished_at"]
    run(job)
    assert rows_of(job)["f.png"]["vanished_at"] == first, "when it was missed first"
    (Path(job.source).parent / "f.png").rename(Path(job.source) / "f.png")
    run(job)
    assert rows_of(job) == before and written == []


def test_an_interrupted_growth_goes_on(job: EmbedRunRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in "ace":
        scene(ord(name), (40, 40)).save(Path(job.source) / f"{name}.png")
    original = WorkLog.write_rows

    def stop(self: WorkLog, task, rows):
        if task.image_id == "c.png":
            raise KeyboardInterrupt
        return original(self, task, rows)

    with monkeypatch.context() as patch:
        patch.setattr(WorkLog, "write_rows", stop)
        with pytest.raises(KeyboardInterrupt):
            run(job)
    assert not read_status(job.out, print).finished
    run(replace(job, config=CONFIG))
    assert len(rows_of(job)) == 8 and read_status(job.out, print).finished
    assert [info.key for info in open_store(job.out).list("work/")] == []


def test_a_list_with_other_columns_is_refused(job: EmbedRunRequest, tmp_path: Path) -> None:
    listing = tmp_path / "list.csv"
    listing.write_text("path,label\nin/b.png,house\n")
    listed = replace(job, source=str(listing), out=f"{job.out}-listed")
    run(listed)
    listing.write_text("path,colour\nin/b.png,red\nin/d.png,blue\n")
    with pytest.raises(RunConflictError, match=r"columns image_id, uri, colour now, .*image_id, uri, label"):
        run(listed)
    listing.write_text("path,label\nin/b.png,house\nin/d.png,hut\n")
    run(listed)
    assert sorted(row["label"] for row in rows_of(listed).values()) == ["house", "hut"]


def test_columns_that_images_of_a_folder_have_got_since_do_not_stop_it(
    tmp_path: Path, generator: Path, vgg: Path
) -> None:
    """img2dataset ends a folder with its statistics; a run that was planned before has no columns of it."""
    folder = tmp_path / "in" / "00000"
    folder.mkdir(parents=True)
    scene(1, (40, 40)).save(folder / "0.png")
    job = EmbedRunRequest(str(tmp_path / "in"), str(tmp_path / "out"), str(generator), str(vgg), CONFIG)
    run(job)
    scene(2, (40, 40)).save(folder / "1.png")
    (folder / "0.txt").write_text("a caption")
    (tmp_path / "in" / "00000_stats.json").write_text("{}")
    said = run(replace(job, config=replace(CONFIG, grow=True)))
    assert "columns that the images have got since the run was planned are left out: txt" in said
    assert {name: row["status"] for name, row in rows_of(job).items()} == {"00000/0.png": "ok", "00000/1.png": "ok"}
