"""A source may move: it is the same by device and inode, or it is proved by the sha256 of what was read."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path

import pytest

from i2s_batch.api.reports import write_report
from i2s_batch.config import EmbedConfig, EmbedRunConfig
from i2s_batch.editing.kept_noise import NoiseOfEdits
from i2s_batch.embedding.embed_run import EmbedRun, EmbedRunRequest
from i2s_batch.errors import RunConflictError
from i2s_batch.maintenance.merging import merge_runs
from i2s_batch.maintenance.verification.table_checks import check_table
from i2s_batch.models.loading import generator_weights
from i2s_batch.output.moved_source import moved_uri
from i2s_batch.run.pools import InProcessCluster
from i2s_batch.run.status import read_status
from i2s_batch.sources.identity import is_same_source, move_of
from i2s_batch.storage import open_store
from i2s_batch.studies.catalogue import variant_settings
from i2s_batch.studies.study_config import StudyConfig
from i2s_batch.studies.study_run import StudyRun, StudyRunRequest
from i2s_batch.table.shards import read_table
from tests.material import scene, upload
from tests.runs import embed, job_over, rows_written

CONFIG = EmbedRunConfig(embed=EmbedConfig(steps=1), batch_size=4, shard_size=2, max_failed_fraction=1)
MOVED = replace(CONFIG, source_moved=True)
NAMES = ["01.png", "02.png", "03.png"]


@pytest.fixture
def job(tmp_path: Path, generator: Path, vgg: Path) -> EmbedRunRequest:
    return job_over(tmp_path, NAMES, generator, vgg, CONFIG)


def uris(out: str) -> list[str]:
    return read_table(out, ["image_id", "uri"])["uri"].to_pylist()


def test_the_same_folder_by_another_path_is_the_same_source(job: EmbedRunRequest, tmp_path: Path) -> None:
    embed(job)
    record = Path(job.out, "run.json").read_bytes()
    (tmp_path / "link").symlink_to(tmp_path / "in")
    (tmp_path / "above").symlink_to(tmp_path)
    for source in ("link", "above/in", "in/../in", "in/"):
        embed(replace(job, source=f"{tmp_path}/{source}"))
    assert Path(job.out, "run.json").read_bytes() == record
    shutil.copytree(tmp_path / "in", tmp_path / "copy")
    with pytest.raises(RunConflictError, match=r"the source is .*/in there, .*/copy was asked"):
        EmbedRun(replace(job, source=str(tmp_path / "copy")), [].append)


def test_patterns_and_lists_through_a_link(tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "list.txt").touch()
    (tmp_path / "link").symlink_to(tmp_path / "in")
    here, there = str(tmp_path / "in"), str(tmp_path / "link")
    assert is_same_source(f"{here}/*.png", f"{there}/*.png") and is_same_source(f"{here}/list.txt", f"{there}/list.txt")
    assert not is_same_source(f"{here}/*.png", f"{there}/*.jpg") and not is_same_source(here, f"{there}/list.txt")
    assert is_same_source("s3://b/p/", "s3://b/p") and not is_same_source("s3://b/p", "s3://b/q")
    assert not is_same_source(here, "s3://b/in") and not is_same_source("\0", here)


def test_a_moved_source_is_taken_when_its_images_prove_to_be_the_same(
    job: EmbedRunRequest, tmp_path: Path, generator: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "in" / "bad.png").write_bytes(b"\x89PNG\r\n\x1a\n")
    embed(job)
    before = json.loads(Path(job.out, "run.json").read_text())
    moved = replace(job, source=str(tmp_path / "elsewhere"))
    Path(job.source).rename(moved.source)
    with pytest.raises(RunConflictError, match="at another path, add --source-moved; else use another OUT"):
        embed(moved)
    said: list[str] = []
    embed(replace(moved, config=MOVED), said=said)
    assert said[0] == f"the source is at {moved.source} now: 4 of 4 images were looked at there, and are the same"
    record = json.loads(Path(job.out, "run.json").read_text())
    assert record == before | {"source_now": moved.source, "moved": [[job.source, moved.source]]}
    assert read_status(job.out, print).command.split()[2] == moved.source  # type: ignore[union-attr]

    scene(5, (40, 40)).save(Path(moved.source) / "bad.png")
    written = rows_written(monkeypatch)
    embed(replace(moved, config=replace(CONFIG, retry_failed=True)))
    assert written == ["bad.png"], "without the option from now on"
    found = dict(zip(read_table(job.out)["image_id"].to_pylist(), uris(job.out), strict=True))
    assert found == {name: f"{job.source}/{name}" for name in NAMES} | {"bad.png": f"{moved.source}/bad.png"}
    page = Path(write_report(job.out, generator_weights(generator))).read_text()
    assert "gone" not in page and page.count("data:image/") >= 3 * len(NAMES)
    verified = check_table(job.out, variant_settings, NoiseOfEdits, 4)
    assert verified.sound and verified.rendered == 4

    scene(6, (40, 40)).save(Path(moved.source) / "06.png")
    embed(replace(moved, config=replace(CONFIG, grow=True)), said=said)
    assert len(uris(job.out)) == 5 and "0 images have changed, 0 are gone" in said[-2] + said[-3]
    with pytest.raises(RunConflictError, match=r"the source is .*elsewhere there, .*/in was asked"):
        embed(job)
    Path(moved.source).rename(job.source)
    embed(replace(job, config=MOVED))
    record = json.loads(Path(job.out, "run.json").read_text())
    assert "source_now" not in record and record["moved"] == [[moved.source, job.source]], "back again"


def test_another_image_at_the_new_place_is_named(job: EmbedRunRequest, tmp_path: Path) -> None:
    embed(job)
    moved = replace(job, source=str(tmp_path / "elsewhere"), config=MOVED)
    shutil.copytree(job.source, moved.source)
    scene(9, (40, 40)).save(Path(moved.source) / "02.png")
    before = Path(job.out, "run.json").read_bytes()
    with pytest.raises(RunConflictError, match=r"does not hold .* of this run: '02\.png' is another file there"):
        embed(moved)
    Path(moved.source, "02.png").unlink()
    with pytest.raises(RunConflictError, match=r"'02\.png' cannot be read there"):
        embed(moved)
    assert Path(job.out, "run.json").read_bytes() == before
    with pytest.raises(RunConflictError, match="--steps is 1 there, 2 was asked"):
        embed(replace(moved, config=replace(MOVED, embed=EmbedConfig(steps=2))))


def test_a_run_without_any_row_looks_for_its_planned_images(job: EmbedRunRequest, tmp_path: Path) -> None:
    EmbedRun(job, [].append).begin()
    Path(job.source).rename(tmp_path / "elsewhere")
    said: list[str] = []
    moved = replace(job, source=str(tmp_path / "elsewhere"), config=MOVED)
    embed(moved, said=said)
    assert "3 of 3 images were looked at there, and exist; none was read before" in said[0]
    assert uris(job.out) == [f"{tmp_path}/elsewhere/{name}" for name in NAMES]


def test_a_study_whose_source_has_moved(job: EmbedRunRequest, tmp_path: Path) -> None:
    def study(source: str, moved: bool) -> StudyRun:
        config = StudyConfig(study="init", sample=2, embed=EmbedConfig(steps=1), source_moved=moved)
        run = StudyRun(StudyRunRequest(source, job.out, job.generator, job.vgg, config), [].append)
        run.execute(InProcessCluster())
        return run

    study(job.source, False)
    Path(job.source).rename(tmp_path / "elsewhere")
    study(str(tmp_path / "elsewhere"), True)
    unit = study(str(tmp_path / "elsewhere"), False).unit(0)
    assert unit.uri.startswith(f"{tmp_path}/elsewhere/")
    write_report(job.out)
    assert (Path(job.out) / "figures").is_dir()


def test_the_table_of_merged_runs_finds_the_images_of_moved_ones(job: EmbedRunRequest, tmp_path: Path) -> None:
    embed(job)
    Path(job.source).rename(tmp_path / "elsewhere")
    embed(replace(job, source=str(tmp_path / "elsewhere"), config=MOVED))
    (tmp_path / "more").mkdir()
    scene(11, (40, 40)).save(tmp_path / "more" / "11.png")
    embed(replace(job, source=str(tmp_path / "more"), out=f"{job.out}-more"))
    merge_runs([job.out, f"{job.out}-more"], str(tmp_path / "both"), print)
    assert check_table(str(tmp_path / "both"), variant_settings, 4).rendered == 4


@pytest.mark.slow
def test_a_source_moved_to_s3_and_on_within_it(job: EmbedRunRequest, s3_bucket: str) -> None:
    embed(job)
    for prefix in ("first", "second/deep"):
        url = f"s3://{s3_bucket}/{prefix}"
        upload(Path(job.source), url)
        embed(replace(job, source=url, config=MOVED))
    assert check_table(job.out, variant_settings, 3).rendered == 3
    upload(Path(job.source), f"s3://{s3_bucket}/third")
    open_store(f"s3://{s3_bucket}/third").put("02.png", b"another")
    with pytest.raises(RunConflictError, match=r"'02\.png' is another file there"):
        embed(replace(job, source=f"s3://{s3_bucket}/third", config=MOVED))


@pytest.mark.parametrize(
    ("uri", "moves", "expected"),
    [
        ("/a/b/c.png", [("/a/b", "/n")], "/n/c.png"),
        ("/a/bc/c.png", [("/a/b", "/n")], "/a/bc/c.png"),
        ("/a/b/c.png", [("/a/b", "s3://k/p")], "s3://k/p/c.png"),
        ("s3://k/p/c.png", [("s3://k/p", "/n")], "/n/c.png"),
        ("file:///a%25/b/%FF.png", [("/a%/b", "/n%")], "file:///n%25/%FF.png"),
        ("file:///a/%FF.png", [("/a", "s3://k")], "file:///a/%FF.png"),
        ("/a/b/c.png", [("/a/b", "/x"), ("/a", "/y")], "/x/c.png"),
        ("/z.png", [], "/z.png"),
    ],
)
def test_where_a_moved_image_is(uri: str, moves: list[tuple[str, str]], expected: str) -> None:
    assert moved_uri(uri, moves) == expected


def test_what_moves_with_a_source(tmp_path: Path) -> None:
    (tmp_path / "new").mkdir()
    (tmp_path / "new" / "a.png").touch()
    new = str(tmp_path / "new")
    assert move_of("/old", new) == ("/old", new)
    assert move_of("/old/*.png", f"{new}/*.png") == ("/old", new)
    assert move_of("/old/list.csv", f"{new}/list.csv") == ("/old", new)
    assert move_of("/old/a.png", f"{new}/a.png") == ("/old", new), "a single image"
    assert move_of("s3://b/p/list.csv", f"{new}/list.csv") == ("s3://b/p", new)
