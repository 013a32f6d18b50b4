"""--dedupe and --min-size: images with the same bytes are embedded once, each with a row; small ones are set apart."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from i2s_batch.api.reports import write_report
from i2s_batch.config import EmbedConfig, EmbedRunConfig
from i2s_batch.embedding.embed_run import EmbedRun, EmbedRunRequest
from i2s_batch.errors import RunConflictError
from i2s_batch.inversion import Embedder
from i2s_batch.maintenance.verification.table_checks import check_table
from i2s_batch.models.loading import generator_weights
from i2s_batch.models.noise_maps import NoiseLayout
from i2s_batch.output.ownership import find_record
from i2s_batch.run.pools import InProcessCluster
from i2s_batch.sources import duplicates
from i2s_batch.sources.source import list_images
from i2s_batch.storage import open_store
from i2s_batch.studies.catalogue import variant_settings
from i2s_batch.table.latent_reader import LatentIndex
from i2s_batch.table.noise_reader import NoiseReader
from i2s_batch.table.shards import read_table
from tests.material import scene
from tests.program import status_of
from tests.runs import embed, job_over, rows_written
from tests.storage.archive_files import run

CONFIG = EmbedRunConfig(embed=EmbedConfig(steps=2), batch_size=4, shard_size=2, dedupe=True)
NAMES = ["00-a.png", "01-b.png", "02-c.png"]


@pytest.fixture
def job(tmp_path: Path, generator: Path, vgg: Path) -> EmbedRunRequest:
    """A run over three images, copies of the first in other shards and folders, and two copies of a damaged one."""
    asked = job_over(tmp_path, NAMES, generator, vgg, CONFIG)
    source = Path(asked.source)
    (source / "sub").mkdir()
    for name in ("03-copy.png", "sub/copy.png"):
        shutil.copy(source / NAMES[0], source / name)
    for name in ("04-damaged.png", "05-damaged.png"):
        (source / name).write_bytes((source / NAMES[1]).read_bytes()[:60])
    return asked


@pytest.fixture
def embedded(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The images that are put into a slot from now on."""
    names: list[str] = []
    original = Embedder.put

    def put(self: Embedder, image_id: str, *arguments: object) -> None:
        names.append(image_id)
        original(self, image_id, *arguments)  # type: ignore[arg-type]

    monkeypatch.setattr(Embedder, "put", put)
    return names


def rows_of(job: EmbedRunRequest) -> dict[str, dict]:
    return {row["image_id"]: row for row in read_table(job.out).to_pylist()}


def test_images_with_the_same_bytes_are_embedded_once(job: EmbedRunRequest, embedded: list[str]) -> None:
    said: list[str] = []
    assert embed(job, said=said).summary.statuses == {"ok": 5, "unreadable": 2}
    assert sorted(embedded) == NAMES
    assert "3 images have the same bytes as another: not embedded again" in said
    rows = rows_of(job)
    assert {name: row["duplicate_of"] for name, row in rows.items() if row["duplicate_of"]} == {
        "03-copy.png": NAMES[0], "sub/copy.png": NAMES[0],
    }  # fmt: skip
    first, copy = rows[NAMES[0]], rows["sub/copy.png"]
    own = {"image_id", "uri", "folder", "worker", "embedded_at", "seconds", "duplicate_of", "attempts"}
    assert {name: value for name, value in first.items() if name not in own} == {
        name: value for name, value in copy.items() if name not in own
    }
    assert copy["uri"].endswith("/in/sub/copy.png") and copy["folder"] == "sub" and copy["seconds"] == 0
    assert rows["04-damaged.png"]["error"] and rows["05-damaged.png"]["error"]
    assert check_table(job.out, variant_settings, 8).sound
    embed(job)
    assert len(embedded) == 3, "nothing is done again"


def test_columns_of_a_list_with_the_names_of_ours_decide_nothing(job: EmbedRunRequest, embedded: list[str]) -> None:
    """As in the images.parquet of a run with `--dedupe`, which somebody gives as a list."""
    listed = Path(job.source, "list.csv")
    rows = [f"{name},{9 - number},abc" for number, name in enumerate(NAMES)]
    listed.write_text("\n".join([f"path,{duplicates.SAME_AS},{duplicates.SHA256}", *rows]) + "\n")
    done = embed(replace(job, source=str(listed), config=replace(CONFIG, dedupe=False)))
    assert done.summary.statuses == {"ok": 3} and sorted(embedded) == NAMES


def test_an_update_reads_and_embeds_only_what_is_new(
    job: EmbedRunRequest, embedded: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    embed(job)
    embedded.clear()
    source, read = Path(job.source), []
    shutil.copy(source / NAMES[1], source / "00-0.png")  # an older one is first, whatever the ids
    scene(7, (40, 40)).save(source / "x.png")
    shutil.copy(source / "x.png", source / "y.png")
    original = duplicates.read_bytes
    monkeypatch.setattr(duplicates, "read_bytes", lambda uri: read.append(Path(uri).name) or original(uri))
    embed(replace(job, config=replace(CONFIG, grow=True)))
    assert sorted(read) == ["00-0.png", "x.png", "y.png"] and embedded == ["x.png"]
    rows = rows_of(job)
    assert (rows["00-0.png"]["duplicate_of"], rows["y.png"]["duplicate_of"]) == (NAMES[1], "x.png")
    assert rows["00-0.png"]["latent"] == rows[NAMES[1]]["latent"] != rows["y.png"]["latent"]


def test_no_row_is_that_of_an_image_that_has_changed(job: EmbedRunRequest, embedded: list[str]) -> None:
    planned = EmbedRun(job, [].append)
    planned.begin()
    scene(8, (40, 40)).save(Path(job.source) / "03-copy.png")
    planned.execute(InProcessCluster(1))
    assert sorted(embedded) == sorted([*NAMES, "03-copy.png"])
    rows = rows_of(job)
    assert rows["03-copy.png"]["duplicate_of"] is None and rows["sub/copy.png"]["duplicate_of"] == NAMES[0]
    assert not np.array_equal(rows["03-copy.png"]["latent"], rows[NAMES[0]]["latent"])
    assert check_table(job.out, variant_settings, 8).sound


def test_a_resumed_run_waits_for_the_first_image_alone(
    job: EmbedRunRequest, embedded: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The driver ends after some rows; the next one takes over results from the log as from the table."""
    written = rows_written(monkeypatch)

    def stop() -> None:
        if len(written) >= 3:
            raise KeyboardInterrupt

    monkeypatch.setattr("i2s_batch.run.driver.Progress.tick", lambda *_: stop(), raising=False)
    with pytest.raises(KeyboardInterrupt):
        embed(job)
    monkeypatch.undo()
    again = embed(job)
    assert again.summary.statuses == {"ok": 5, "unreadable": 2}
    assert rows_of(job)["03-copy.png"]["duplicate_of"] == NAMES[0]


def test_noise_maps_are_taken_over(job: EmbedRunRequest) -> None:
    config = replace(CONFIG, embed=replace(CONFIG.embed, noise_steps=2))
    assert embed(replace(job, config=config)).summary.statuses == {"ok": 5, "unreadable": 2}
    index = LatentIndex([job.out])
    size = NoiseLayout.of(generator_weights(job.generator)).size
    reader = NoiseReader([job.out], size)
    maps = [reader.read(name, index.location(name)) for name in (NAMES[0], "03-copy.png", "sub/copy.png", NAMES[1])]
    np.testing.assert_array_equal(maps[0], maps[1])
    np.testing.assert_array_equal(maps[0], maps[2])
    assert not np.array_equal(maps[0], maps[3])
    assert check_table(job.out, variant_settings, 8).sound


def test_members_of_archives_are_compared_too_and_another_box_is_another_image(
    job: EmbedRunRequest, embedded: list[str], tmp_path: Path
) -> None:
    run("tar", "cf", tmp_path / "a.tar", "-C", job.source, NAMES[0], "03-copy.png", NAMES[1])
    embed(replace(job, source=str(tmp_path / "a.tar")))
    assert sorted(embedded) == [f"a.tar/{NAMES[0]}", f"a.tar/{NAMES[1]}"]
    embedded.clear()
    (tmp_path / "boxes.csv").write_text(
        f"path,x0,y0,x1,y1\nin/{NAMES[0]},0,0,20,20\nin/03-copy.png,10,10,30,30\nin/sub/copy.png,0,0,20,20\n"
    )
    config = replace(CONFIG, box="x0,y0,x1,y1")
    boxed = replace(job, source=str(tmp_path / "boxes.csv"), out=str(tmp_path / "boxed"), config=config)
    embed(boxed)
    assert sorted(embedded) == [f"in/{NAMES[0]}", "in/03-copy.png"]
    assert rows_of(boxed)["in/sub/copy.png"]["duplicate_of"] == f"in/{NAMES[0]}"


def test_duplicates_are_found_in_parts(job: EmbedRunRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(duplicates, "GROUP_ROWS", 2)
    said: list[str] = []
    found = duplicates.with_duplicates(list_images(job.source), said.append, 10).read().to_pylist()
    assert [row[duplicates.SAME_AS] for row in found] == [None, None, None, 10, None, 14, 10]
    assert said[0] == "read 7 of 7 images to find those with the same bytes"


def test_small_images_are_rows_that_have_not_failed(job: EmbedRunRequest) -> None:
    scene(9, (64, 32)).save(Path(job.source) / "wide.png")
    config = replace(CONFIG, min_size=40, dedupe=False, max_failed_fraction=0.3)
    outcome = embed(replace(job, config=config))
    assert outcome.summary.statuses == {"ok": 5, "too_small": 1, "unreadable": 2} and outcome.failed == 2
    row = rows_of(job)["wide.png"]
    assert (row["status"], row["width"], row["height"], row["latent"]) == ("too_small", 64, 32, None)
    assert row["error"] == "it has 64 x 32 pixels; its smaller side must have 40 (--min-size)"
    assert check_table(job.out, variant_settings, 8).sound
    page = Path(write_report(job.out)).read_text()
    assert '<div class="card apart"><b>1</b>too_small' in page and "Images that are too small" in page
    with pytest.raises(RunConflictError, match="--min-size is 40 there, 30 was asked"):
        embed(replace(job, config=replace(config, min_size=30)))


def test_the_command_has_both_options_and_names_them_to_resume(job: EmbedRunRequest, embedded: list[str]) -> None:
    words = ["embed", job.source, job.out, "--generator", job.generator, "--vgg", job.vgg, "--steps", 2]
    words += ["--min-size", 40, "--dedupe", "--in-process", "--max-failed-fraction", 0.5]
    assert status_of(*words) == 0 and sorted(embedded) == NAMES
    record = find_record(open_store(job.out))
    assert record is not None and record.settings.min_size == 40 and record.settings.dedupe
    assert "--min-size 40 --dedupe" in str(record.resume_command(job.out))
