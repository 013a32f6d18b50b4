"""Studies as runs: every variant once, with its own settings, whatever the workers and whatever was stopped."""

from __future__ import annotations

import hashlib
import json
import os
import signal
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from i2s_batch.api.reports import write_report
from i2s_batch.api.verification import verify
from i2s_batch.config import EmbedConfig
from i2s_batch.embedding.embed_run import EmbedRunRequest
from i2s_batch.errors import ConfigError, RunConflictError, StorageError
from i2s_batch.images.alterations import alter
from i2s_batch.images.read.decoding import decode_image
from i2s_batch.inversion.slots import Slots
from i2s_batch.output.layout import RunLayout
from i2s_batch.output.work_log import WorkLog
from i2s_batch.run.execution import Outcome, RunInterruptedError
from i2s_batch.run.pools import InProcessCluster
from i2s_batch.storage import open_store
from i2s_batch.studies.catalogue import study_of
from i2s_batch.studies.kinds import iterate
from i2s_batch.studies.registered import STUDIES
from i2s_batch.studies.study_config import StudyConfig
from i2s_batch.studies.study_run import StudyRun, StudyRunRequest
from i2s_batch.table.shards import read_table
from tests.material import scene, upload
from tests.runs import embed, rows_written

STEPS = 12
CONFIG = StudyConfig(embed=EmbedConfig(steps=STEPS), batch_size=3, precision="fp64", max_failed_fraction=1)


@pytest.fixture(autouse=True)
def few_rounds(monkeypatch: pytest.MonkeyPatch) -> None:
    """The paper's seven take long."""
    monkeypatch.setattr(iterate, "ROUNDS", 3)


@pytest.fixture
def job(tmp_path: Path, generator: Path, vgg: Path) -> StudyRunRequest:
    """Five pictures in two folders, of which four are looked at."""
    for number in range(5):
        folder = tmp_path / "pictures" / ("scene", "other")[number % 2]
        folder.mkdir(parents=True, exist_ok=True)
        scene(number, (24, 24)).save(folder / f"{number}.png")
    config = replace(CONFIG, sample=4)
    return StudyRunRequest(str(tmp_path / "pictures"), str(tmp_path / "out"), str(generator), str(vgg), config)


def of(job: StudyRunRequest, study: str, **changes: object) -> StudyRunRequest:
    return replace(job, config=replace(job.config, study=study, **changes))


def carry_out(job: StudyRunRequest, workers: int = 1) -> Outcome:
    return StudyRun(job, [].append).execute(InProcessCluster(workers))


def rows_of(job: StudyRunRequest) -> dict[str, dict]:
    return {row["image_id"]: row for row in read_table(job.out).to_pylist()}


@pytest.mark.parametrize("name", STUDIES.names)
def test_every_variant_of_every_picture_is_one_row_with_its_settings(job: StudyRunRequest, name: str) -> None:
    job = of(job, name)
    assert carry_out(job).summary.statuses == {"ok": 4 * len(study_of(name, job.config.embed).variants)}
    rows = rows_of(job)
    pictures = {row["picture"] for row in rows.values()}
    assert len(pictures) == 4 and all(row["class"] == row["picture"].split("/")[0] for row in rows.values())
    for variant in study_of(name, job.config.embed).variants:
        for picture in pictures:
            row = rows.pop(f"{variant.name}/{picture}")
            assert (row["study"], row["variant"], row["round"]) == (name, variant.name, variant.round)
            embed = variant.embed
            assert (row["space"], row["init"], row["steps"]) == (embed.space, embed.init, embed.steps)
            assert (Path(job.out) / "pictures" / f"{row['image_id']}.png").is_file()
    assert not rows
    found = verify(job.out, sample=8)
    assert found.sound and found.rendered == 8, found.findings
    assert not (Path(job.out) / "work").exists() or not list((Path(job.out) / "work").rglob("*.*"))


@pytest.mark.parametrize("name", ["space", "iterate", "steps", "init"])
def test_the_number_of_workers_changes_nothing(job: StudyRunRequest, tmp_path: Path, name: str) -> None:
    other = replace(of(job, name, batch_size=2), out=str(tmp_path / "other"))
    carry_out(of(job, name), workers=1)
    carry_out(other, workers=3)
    one, three = rows_of(job), rows_of(other)
    assert one.keys() == three.keys()
    for image_id, row in one.items():
        np.testing.assert_allclose(row["latent"], three[image_id]["latent"], rtol=0, atol=1e-6, err_msg=image_id)
        np.testing.assert_allclose(row["loss"], three[image_id]["loss"], rtol=1e-9, err_msg=image_id)


def test_the_inputs_are_the_altered_pictures(job: StudyRunRequest) -> None:
    job = of(job, "transforms")
    carry_out(job)
    for image_id, row in rows_of(job).items():
        original = np.asarray(scene(int(row["picture"][-5]), (24, 24)).resize((16, 16), 1))  # Lanczos, as the fit does
        given = decode_image(Path(row["uri"]).read_bytes())
        if row["variant"] == "original":
            assert given.shape == (24, 24, 3) and row["uri"].endswith(row["picture"])
        else:
            assert Path(row["uri"]) == Path(job.out) / "inputs" / f"{image_id}.png"
            np.testing.assert_array_equal(given, alter(original, row["variant"], row["picture"], 0))


def test_each_round_is_given_the_picture_of_the_round_before(job: StudyRunRequest) -> None:
    job = of(job, "iterate")
    carry_out(job, workers=2)
    rows = rows_of(job)
    for row in rows.values():
        if row["round"] > 1:
            before = Path(job.out) / "pictures" / f"round-{row['round'] - 1}" / f"{row['picture']}.png"
            assert Path(row["uri"]) == before and row["sha256"] is not None
            assert row["embedded_at"] > rows[f"round-{row['round'] - 1}/{row['picture']}"]["embedded_at"]


def test_a_longer_embedding_costs_only_the_steps_that_it_adds(
    job: StudyRunRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = []
    original = Slots.advance
    monkeypatch.setattr(Slots, "advance", lambda slots, full: (made.append(slots.size), original(slots, full))[1])
    job = of(job, "steps", batch_size=4)
    carry_out(job)
    study = study_of("steps", job.config.embed)
    # Each variant judges its last code, which the next one does again: an evaluation, no step.
    assert sum(made) == 4 * (STEPS + len(study.variants))
    plain = EmbedRunRequest(job.source, str(tmp_path / "plain"), job.generator, job.vgg, job.config)
    embed(plain)
    whole = {row["image_id"]: row for row in read_table(plain.out).to_pylist()}
    for row in rows_of(job).values():
        if row["steps"] == STEPS:
            np.testing.assert_array_equal(row["latent"], whole[row["picture"]]["latent"])
            assert row["loss_curve"] == whole[row["picture"]]["loss_curve"]


@pytest.mark.parametrize(
    ("name", "after"), [("iterate", 5), ("iterate", 30), ("steps", 5), ("steps", 9), ("space", 30)]
)
def test_a_study_that_was_stopped_goes_on_to_the_same_end(
    job: StudyRunRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, after: int
) -> None:
    job = of(job, name, checkpoint_every_s=0.01, sample=3)
    whole = replace(job, out=str(tmp_path / "whole"))
    carry_out(whole, workers=2)
    calls = iter(range(10_000))
    original = Slots.advance

    def stopped(slots: Slots, full: bool) -> None:
        if next(calls) == after:
            signal.raise_signal(signal.SIGTERM)
        original(slots, full)

    with monkeypatch.context() as patch:
        patch.setattr(Slots, "advance", stopped)
        with pytest.raises(RunInterruptedError):
            carry_out(job, workers=2)
    done = len(list((Path(job.out) / "work" / "rows").rglob("*.arrow")))
    written = rows_written(monkeypatch)
    carry_out(job, workers=2)
    one, other = rows_of(whole), rows_of(job)
    assert one.keys() == other.keys() and len(written) == len(one) - done, "what was finished is not made again"
    for image_id, row in one.items():
        np.testing.assert_allclose(row["latent"], other[image_id]["latent"], rtol=0, atol=1e-6, err_msg=image_id)


def test_a_picture_that_cannot_be_read_says_so_in_every_variant(job: StudyRunRequest, tmp_path: Path) -> None:
    (tmp_path / "pictures" / "scene" / "page.png").write_text("<!DOCTYPE html><html>quota exceeded</html>")
    job = of(job, "transforms", sample=6)
    assert carry_out(job).summary.statuses == {"ok": 35, "unreadable": 7}
    errors = [row["error"] for row in rows_of(job).values() if row["picture"] == "scene/page.png"]
    assert len(errors) == 7 and all("HTML" in error for error in errors)
    job = replace(of(job, "iterate", sample=6), out=str(tmp_path / "again"))
    assert carry_out(job).summary.statuses == {"ok": 15, "unreadable": 3}
    errors = {row["round"]: row["error"] for row in rows_of(job).values() if row["picture"] == "scene/page.png"}
    assert "HTML" in errors[1] and "round-1/scene/page.png.png" in errors[2]


@pytest.fixture
def elsewhere(tmp_path: Path, s3_bucket: str) -> Path:
    """A list of images that lie anywhere, beside some whose names are no UTF-8, or as long as a name can be."""
    folder = tmp_path / "lists" / "near"
    folder.mkdir(parents=True)
    one, two = tmp_path / "one.png", tmp_path / "two.png"
    for number, path in enumerate((one, two)):
        scene(number, (24, 24)).save(path)
    names = [b"a\xff.png", b"n" * 251 + b".png", b"plain.png"]
    for name in names:
        Path(os.fsdecode(os.fsencode(folder) + b"/" + name)).write_bytes(one.read_bytes())
    open_store(f"s3://{s3_bucket}/in").put("deep//one.png", one.read_bytes())
    rows = ["../../one.png", str(two), f"s3://{s3_bucket}/in/deep//one.png"]
    (folder / "list.txt").write_bytes(b"\n".join([*map(os.fsencode, rows), *names]))
    return folder / "list.txt"


@pytest.mark.parametrize("name", ["iterate", "defects", "steps"])
def test_images_that_embed_takes_can_be_studied_wherever_they_lie(
    job: StudyRunRequest, elsewhere: Path, name: str
) -> None:
    job = replace(of(job, name, sample=6), source=str(elsewhere))
    variants = study_of(name, job.config.embed).variants
    assert carry_out(job).summary.statuses == {"ok": 6 * len(variants)}
    rows = rows_of(job)
    for picture in {row["picture"] for row in rows.values()}:
        for variant in variants:
            made = RunLayout.picture(f"{variant.name}/{picture}", "png")
            assert decode_image((Path(job.out) / made).read_bytes()).shape[2] == 3
    for row in rows.values():
        if row["round"] == 2:
            before = Path(job.out) / RunLayout.picture(f"round-1/{row['picture']}", "png")
            assert row["sha256"] == hashlib.sha256(before.read_bytes()).hexdigest()
    Path(write_report(job.out)).read_bytes()


def test_a_prefix_of_s3_with_empty_parts_can_be_studied(job: StudyRunRequest, s3_bucket: str, tmp_path: Path) -> None:
    upload(tmp_path / "pictures", f"s3://{s3_bucket}/in//deep")
    for out in (job.out, f"s3://{s3_bucket}/out"):
        here = replace(of(job, "iterate", sample=2), source=f"s3://{s3_bucket}/in", out=out)
        assert carry_out(here).summary.statuses == {"ok": 6}
        assert all(image_id.split("/", 1)[1].startswith("/deep/") for image_id in rows_of(here))


def test_failed_rounds_are_tried_again_in_their_order(job: StudyRunRequest, tmp_path: Path) -> None:
    broken = tmp_path / "pictures" / "scene" / "0.png"
    good = broken.read_bytes()
    broken.write_bytes(good[:60])
    job = of(job, "iterate", sample=5)
    assert carry_out(job).summary.statuses == {"ok": 12, "unreadable": 3}
    broken.write_bytes(good)
    assert carry_out(of(job, "iterate", sample=5, retry_failed=True), workers=2).summary.statuses == {"ok": 15}


def test_classes_from_a_column(job: StudyRunRequest, tmp_path: Path) -> None:
    names = sorted(
        path.relative_to(tmp_path / "pictures").as_posix() for path in (tmp_path / "pictures").rglob("*.png")
    )
    lines = ["image,kind", *(f"{name},{'ab'[place % 2]}" for place, name in enumerate(names))]
    (tmp_path / "pictures" / "list.csv").write_text("\n".join(lines))
    job = replace(of(job, "init", classes="kind"), source=str(tmp_path / "pictures" / "list.csv"))
    carry_out(job)
    assert {row["class"] for row in rows_of(job).values()} == {"a", "b"}
    with pytest.raises(
        ConfigError, match=r"list.csv' has no column 'sort' for --class-column; its extra columns: 'kind'"
    ):
        StudyRun(replace(of(job, "init", classes="sort"), out=str(tmp_path / "new")), [].append).plan()


def test_another_study_in_the_same_output_is_refused(job: StudyRunRequest) -> None:
    carry_out(of(job, "init"))
    with pytest.raises(RunConflictError, match="study is init there, space was asked"):
        StudyRun(of(job, "space"), [].append).plan()
    with pytest.raises(RunConflictError, match="sample is 4 there, 3 was asked"):
        StudyRun(of(job, "init", sample=3), [].append).plan()
    record = json.loads((Path(job.out) / "run.json").read_text())
    assert record["settings"]["study"] == "init"


def test_an_altered_picture_is_made_once(job: StudyRunRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """A study that is resumed makes those that are gone, and no other."""
    job = of(job, "defects")

    def full(self: WorkLog, *rows: object) -> None:
        raise StorageError("the disk is full")

    with monkeypatch.context() as patch:
        patch.setattr(WorkLog, "write_rows", full)
        with pytest.raises(StorageError, match="the disk is full"):
            carry_out(job)
    inputs = {path: path.stat().st_mtime_ns for path in (Path(job.out) / "inputs").rglob("*.png")}
    assert len(inputs) == 24
    next(iter(inputs)).unlink()
    carry_out(job)
    again = {path: path.stat().st_mtime_ns for path in (Path(job.out) / "inputs").rglob("*.png")}
    assert again.keys() == inputs.keys() and sum(again[path] != inputs[path] for path in inputs) == 1
