"""Whole runs with workers in this process: real pictures, real files, a real S3 server."""

from __future__ import annotations

import json
import shutil
import threading
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from i2s_batch.api.verification import verify
from i2s_batch.checksums import with_checksum
from i2s_batch.config import EmbedConfig, EmbedRunConfig
from i2s_batch.embedding.embed_run import EmbedRun, EmbedRunRequest
from i2s_batch.errors import InternalError, RunConflictError, SourceError
from i2s_batch.inversion.slots import Slots
from i2s_batch.output.layout import RunLayout
from i2s_batch.output.run_record import RunRecord
from i2s_batch.output.work_log import WorkLog
from i2s_batch.run.execution import Outcome
from i2s_batch.storage import open_store
from i2s_batch.storage.local import LocalStore
from i2s_batch.table.arrays import read_latents
from i2s_batch.table.shards import read_table
from tests.material import BAD, scene, upload
from tests.runs import embed, rows_written
from tests.runtime.checks import check_table

STEPS = 12
CONFIG = EmbedRunConfig(embed=EmbedConfig(steps=STEPS), batch_size=4, shard_size=10, max_failed_fraction=0.2)


@pytest.fixture
def job(pictures: tuple[Path, set[str]], tmp_path: Path, generator: Path, vgg: Path) -> EmbedRunRequest:
    return EmbedRunRequest(str(pictures[0]), str(tmp_path / "out"), str(generator), str(vgg), CONFIG)


def run(job: EmbedRunRequest, workers: int = 2) -> Outcome:
    return embed(job, workers)


def test_a_folder_of_mixed_pictures(job: EmbedRunRequest, pictures: tuple[Path, set[str]], generator: Path) -> None:
    outcome = run(job)
    check_table(job.out, pictures[1], generator)
    assert outcome.summary.statuses == {"ok": len(pictures[1]) - len(BAD), "unreadable": len(BAD)}
    assert outcome.acceptable and not replace(outcome, config=EmbedRunConfig(max_failed_fraction=0)).acceptable
    shards = sorted(path.name for path in (Path(job.out) / "latents").iterdir())
    assert shards == ["shard-00000.parquet", "shard-00001.parquet", "shard-00002.parquet"]
    record = json.loads((Path(job.out) / "run.json").read_text())
    assert record["settings"]["steps"] == STEPS and len(record["generator"]["fingerprint"]) == 64
    reasons = {row["image_id"]: row["error"] for row in read_table(job.out).to_pylist() if row["error"]}
    assert "HTML" in reasons["bad/page.jpg"] and "empty" in reasons["bad/empty.png"]


def test_an_s3_prefix_into_an_s3_prefix(
    job: EmbedRunRequest, pictures: tuple[Path, set[str]], generator: Path, s3_bucket: str
) -> None:
    upload(pictures[0], f"s3://{s3_bucket}/in")
    job = replace(job, source=f"s3://{s3_bucket}/in", out=f"s3://{s3_bucket}/out")
    run(job)
    check_table(job.out, pictures[1], generator)


def test_workers_and_batch_sizes_do_not_change_a_result(job: EmbedRunRequest, tmp_path: Path) -> None:
    config = replace(CONFIG, precision="fp64")
    run(replace(job, config=config), workers=1)
    other = replace(job, out=str(tmp_path / "other"), config=replace(config, batch_size=3))
    run(other, workers=3)
    first, second = read_latents(job.out), read_latents(other.out)
    assert first.ids == second.ids
    np.testing.assert_allclose(first.latents, second.latents, rtol=0, atol=1e-6)  # the table holds float32


def test_running_again_computes_nothing(job: EmbedRunRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    run(job)
    before = read_table(job.out)
    names = rows_written(monkeypatch)
    outcome = run(job)
    assert names == [] and read_table(job.out) == before
    assert outcome.summary.done == outcome.summary.images == len(before)


def test_a_list_carries_its_columns(job: EmbedRunRequest, tmp_path: Path) -> None:
    listing = tmp_path / "list.csv"
    listing.write_text("path,label\npictures/b/1.png,house\npictures/a/1.png,home\n")
    run(replace(job, source=str(listing)))
    rows = read_table(job.out).to_pylist()
    assert [(Path(row["image_id"]).parent.name, row["label"]) for row in rows] == [("a", "home"), ("b", "house")]


def test_an_output_inside_the_source_is_no_picture(job: EmbedRunRequest, pictures: tuple[Path, set[str]]) -> None:
    run(replace(job, out=str(pictures[0] / "out")))
    again = run(replace(job, out=str(pictures[0] / "out")))
    assert again.summary.images == len(pictures[1])


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"embed": EmbedConfig(steps=STEPS + 1)}, "--steps is 12 there, 13 was asked"),
        ({"embed": EmbedConfig(steps=STEPS, space="w")}, "--space is w+ there, w was asked"),
        ({"precision": "tf32"}, "--precision is fp32 there"),
    ],
)
def test_an_output_of_another_run_is_refused(job: EmbedRunRequest, change: dict, message: str) -> None:
    run(replace(job, config=replace(CONFIG, embed=EmbedConfig(steps=STEPS))))
    with pytest.raises(RunConflictError, match="holds a run with other settings") as refusal:
        run(replace(job, config=replace(CONFIG, **change)))
    assert message in str(refusal.value) and "\n" not in str(refusal.value)


def test_another_source_or_network_is_refused(job: EmbedRunRequest, tmp_path: Path) -> None:
    run(job)
    with pytest.raises(RunConflictError, match="source is"):
        run(replace(job, source=f"{job.source}/a"))
    with pytest.raises(RunConflictError, match="the fingerprint of the VGG-16 is"):
        run(replace(job, vgg="random"))


def test_a_shard_whose_rows_were_not_forgotten_yet_is_not_written_again(
    job: EmbedRunRequest, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A driver that is killed between a shard and the end of its logged rows."""
    with monkeypatch.context() as patch:
        patch.setattr(WorkLog, "delete_rows", lambda self, indices: None)
        patch.setattr(EmbedRun, "clear_work", lambda self: None)
        run(job)
    out = Path(job.out)
    assert list(out.glob("work/rows/*/*"))
    before = {path.name: path.stat().st_mtime_ns for path in (out / "latents").iterdir()}
    run(job)
    assert before == {path.name: path.stat().st_mtime_ns for path in (out / "latents").iterdir()}
    assert not list(out.glob("work/**/*"))


def test_a_driver_killed_between_a_shard_and_its_checksum(
    job: EmbedRunRequest, monkeypatch: pytest.MonkeyPatch
) -> None:
    class KilledError(Exception):
        pass

    original = LocalStore.put

    def stop(self: LocalStore, key: str, data: bytes) -> None:
        if key == RunLayout.checksum(1):
            raise KilledError
        original(self, key, data)

    with monkeypatch.context() as patch:
        patch.setattr(LocalStore, "put", stop)
        with pytest.raises(KilledError):
            run(job)
    shard = Path(job.out) / RunLayout.shard(1)
    written = shard.stat().st_mtime_ns
    assert not (Path(job.out) / RunLayout.checksum(1)).exists() and verify(job.out).findings == []
    run(job)
    found = verify(job.out)
    assert found.sound and (found.as_written, found.files) == (3, 3)
    assert shard.stat().st_mtime_ns == written and list(open_store(job.out).list(RunLayout.work_prefix)) == []


def test_pictures_that_gain_no_more_end_early_and_say_so(job: EmbedRunRequest) -> None:
    embed_config = EmbedConfig(steps=STEPS, stop_plateau=99, plateau_steps=4)
    job = replace(job, config=replace(CONFIG, embed=embed_config))
    run(job)
    rows = [row for row in read_table(job.out).to_pylist() if row["status"] == "ok"]
    assert {(row["stop_reason"], row["steps"], row["loss_curve_steps"][-1]) for row in rows} == {("plateau", 4, 4)}
    command = RunRecord.decode(Path(job.out, "run.json").read_bytes(), "run.json").resume_command("OUT")
    assert command is not None and command.endswith(
        "--early-stopping 99 --patience 4 --shard-size 10 --max-failed-fraction 0.2"
    )
    with pytest.raises(RunConflictError, match=r"--early-stopping is 99\.0 there, none was asked"):
        run(replace(job, config=CONFIG))


@pytest.mark.usefixtures("short_warm_up")
def test_another_optimizer_is_another_run_and_its_command_says_so(job: EmbedRunRequest) -> None:
    other = replace(job, config=replace(CONFIG, embed=EmbedConfig(steps=STEPS, optimizer="lbfgs")))
    run(other)
    rows = [row for row in read_table(job.out).to_pylist() if row["status"] == "ok"]
    assert rows and all(row["loss"] == pytest.approx(min(row["loss_curve"]), rel=1e-3) for row in rows)
    command = RunRecord.decode(Path(job.out, "run.json").read_bytes(), "run.json").resume_command("OUT")
    assert command is not None and command.endswith("--optimizer lbfgs --shard-size 10 --max-failed-fraction 0.2")
    with pytest.raises(RunConflictError, match="optimizer is lbfgs there"):
        run(replace(job, config=CONFIG))


def test_a_device_with_too_little_memory_goes_on_with_fewer_images_and_says_so(
    job: EmbedRunRequest, pictures: tuple[Path, set[str]], generator: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = Slots.advance

    def crowded(self: Slots, full: bool) -> None:
        if self.size > 2:
            raise torch.OutOfMemoryError("no memory")
        whole(self, full)

    monkeypatch.setattr(Slots, "advance", crowded)
    said: list[str] = []
    embed(job, workers=2, said=said)
    check_table(job.out, pictures[1], generator)
    told = [line for line in said if "too little memory" in line]
    assert sorted(told) == [
        f"local-{n}: too little memory for a batch of 4 images; continuing with 2, nothing is lost" for n in (0, 1)
    ]


def test_retry_failed_tries_only_what_failed(
    job: EmbedRunRequest, pictures: tuple[Path, set[str]], generator: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run(job)
    shutil.copy(pictures[0] / "a/0.png", pictures[0] / "bad/empty.png")
    names = rows_written(monkeypatch)
    outcome = run(replace(job, config=replace(CONFIG, retry_failed=True)))
    assert set(names) == BAD
    assert verify(job.out).sound, "a shard that was published again has its new checksum"
    check_table(job.out, pictures[1], generator, bad=BAD - {"bad/empty.png"})
    assert outcome.summary.statuses["unreadable"] == len(BAD) - 1


def test_an_interrupted_retry_keeps_what_it_achieved(
    job: EmbedRunRequest, pictures: tuple[Path, set[str]], generator: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run(job)
    empty = pictures[0] / "bad/empty.png"
    shutil.copy(pictures[0] / "a/0.png", empty)
    retry = replace(job, config=replace(CONFIG, retry_failed=True))

    class StopError(Exception):
        pass

    original = WorkLog.write_rows
    achieved = threading.Event()

    def stop(self: WorkLog, task, rows):
        if task.image_id != "bad/empty.png":
            achieved.wait(60)  # the failures are known long before the picture is embedded
            raise StopError
        written = original(self, task, rows)
        achieved.set()
        return written

    with monkeypatch.context() as patch:
        patch.setattr(WorkLog, "write_rows", stop)
        # None waits for another's thread.
        patch.setattr("i2s_batch.embedding.embed_worker.WRITER_THREADS", len(BAD))
        with pytest.raises(InternalError, match="StopError"):
            run(retry)
    assert len(list((Path(job.out) / "work/rows").rglob("*.arrow"))) == 1
    empty.unlink()  # what was embedded must not be asked for again
    names = rows_written(monkeypatch)
    run(retry)
    assert set(names) == BAD - {"bad/empty.png"}
    table = {row["image_id"]: row for row in read_table(job.out).to_pylist()}
    assert table["bad/empty.png"]["status"] == "ok" and table["bad/empty.png"]["latent"] is not None


def test_leavings_of_another_run_are_never_taken_for_this_one(
    job: EmbedRunRequest, pictures: tuple[Path, set[str]], generator: Path
) -> None:
    """What a driver still wrote whose output was deleted under it."""
    store = open_store(job.out)
    store.put("work/rows/00000/00000003.arrow", with_checksum(b"of another plan"))
    store.put("work/checkpoints/00000004.npz", with_checksum(b"of another plan"))
    store.put("work/deaths.json", b'{"99999": 2, "5": 2}')
    store.put("summary.json", b'{"finished": false, "updated_at": "", "images": 9, "done": 1, "statuses": {}}')
    run(job)
    check_table(job.out, pictures[1], generator)


def test_rows_whose_run_json_is_lost_are_neither_taken_nor_deleted(job: EmbedRunRequest) -> None:
    """They may be the work of weeks, and the plan says whose they are."""
    EmbedRun(job, report=lambda line: None).begin()
    store = open_store(job.out)
    store.put("work/rows/00000/00000003.arrow", b"of this plan")
    store.delete([RunLayout.run_json])
    before = {key: store.get(key) for key in store.everything()}
    with pytest.raises(RunConflictError, match=r"holds 1 file \('work/rows/00000/00000003\.arrow'\) and no run\.json"):
        run(job)
    assert {key: store.get(key) for key in store.everything()} == before


def test_a_table_without_a_run_json_is_refused(job: EmbedRunRequest) -> None:
    run(job)
    (Path(job.out) / "run.json").unlink()
    with pytest.raises(RunConflictError, match=r"holds \d+ files .* and no run\.json"):
        run(replace(job, config=replace(CONFIG, embed=EmbedConfig(steps=STEPS + 1))))


def test_a_damaged_checkpoint_costs_steps_and_nothing_else(
    job: EmbedRunRequest, pictures: tuple[Path, set[str]], generator: Path
) -> None:
    first = EmbedRun(job, report=lambda line: None)
    first.begin()
    open_store(job.out).put("work/checkpoints/00000004.npz", b"PK\x03\x04 cut off")
    run(job)
    check_table(job.out, pictures[1], generator)


def test_a_run_that_was_stopped_goes_on_from_its_checkpoints(
    job: EmbedRunRequest,
    pictures: tuple[Path, set[str]],
    generator: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Stopped in the middle by an error of the storage, right after a checkpoint; float64, to compare."""
    config = replace(CONFIG, precision="fp64", embed=EmbedConfig(steps=40), checkpoint_every_s=0.05, batch_size=3)
    job = replace(job, config=config)
    undisturbed = replace(job, out=str(tmp_path / "undisturbed"))
    run(undisturbed, workers=1)

    class StopError(Exception):
        pass

    original = WorkLog.write_rows

    def stop(self: WorkLog, task, rows):
        if len(list((Path(job.out) / "work/rows").rglob("*.arrow"))) >= 5:
            raise StopError
        return original(self, task, rows)

    with monkeypatch.context() as patch:
        patch.setattr(WorkLog, "write_rows", stop)
        with pytest.raises(InternalError, match="StopError"):
            run(job, workers=1)
    survivors = {int(path.stem) for path in (Path(job.out) / "work/rows").rglob("*.arrow")}
    assert 5 <= len(survivors) < 10, "the writers' threads may have had a few more in hand"
    assert list((Path(job.out) / "work/checkpoints").iterdir())

    names = rows_written(monkeypatch)
    steps = run(job, workers=1).summary.this_session.steps
    assert len(names) == len(pictures[1]) - len(survivors), "no finished picture is computed again"
    assert steps < 40 * (len(names) - len(BAD)), "pictures in flight went on from their checkpoints"
    check_table(job.out, pictures[1], generator)
    np.testing.assert_allclose(read_latents(job.out).latents, read_latents(undisturbed.out).latents, rtol=0, atol=1e-6)


def test_a_dry_run_writes_nothing(job: EmbedRunRequest, pictures: tuple[Path, set[str]]) -> None:
    what = EmbedRun(job, report=lambda line: None).describe()
    assert what.images == what.images_to_do == len(pictures[1]) and what.shards == 3
    assert not Path(job.out).exists()


def test_a_dry_run_counts_what_a_retry_would_do_and_forgets_nothing(
    job: EmbedRunRequest, pictures: tuple[Path, set[str]]
) -> None:
    run(job)
    retry = replace(job, config=replace(job.config, retry_failed=True))
    for config, to_do in ((job, 0), (retry, len(BAD)), (retry, len(BAD)), (job, 0)):
        assert EmbedRun(config, report=lambda line: None).describe().images_to_do == to_do


def test_an_empty_source_is_refused_before_anything_is_written(job: EmbedRunRequest, tmp_path: Path) -> None:
    (tmp_path / "nothing").mkdir()
    with pytest.raises(SourceError, match="nothing"):
        run(replace(job, source=str(tmp_path / "nothing")))
    assert not Path(job.out).exists()


def test_one_picture_is_a_source(job: EmbedRunRequest, tmp_path: Path) -> None:
    scene(3, (40, 40)).save(tmp_path / "one.png")
    run(replace(job, source=str(tmp_path / "one.png")))
    assert read_latents(job.out).ids == ["one.png"]
