"""Files beside the images: each has a row that says so, and none counts as a failed image."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from i2s_batch.api.verification import verify
from i2s_batch.config import EmbedConfig, EmbedRunConfig
from i2s_batch.embedding.embed_run import EmbedRunRequest
from i2s_batch.errors import RunConflictError
from i2s_batch.run.status import read_status
from i2s_batch.sources.options import SourceOptions
from i2s_batch.table.shards import read_table
from tests.material import scene
from tests.runs import embed, rows_written

CONFIG = EmbedRunConfig(embed=EmbedConfig(steps=1), batch_size=4, max_failed_fraction=0.0)
SIDE_FILES = ("notes.txt", "labels.csv", "meta.json", "arrays.npz", "README", "empty.log", "film.mp4")


def fill(folder: Path) -> None:
    folder.mkdir()
    for number in range(2):
        scene(number, (40, 40)).save(folder / f"{number}.png")
    (folder / "notes.txt").write_text("a text\n")
    (folder / "labels.csv").write_text("path,label\n0.png,1\n")
    (folder / "meta.json").write_text('{"a": 1}')
    np.savez(folder / "arrays.npz", a=np.zeros(3))
    (folder / "README").write_text("about\n")
    (folder / "empty.log").touch()
    (folder / "film.mp4").write_bytes(b"\0\0\0\x18ftypisom" + bytes(99))


def test_side_files_are_no_failed_images(
    tmp_path: Path, generator: Path, vgg: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fill(tmp_path / "in")
    job = EmbedRunRequest(str(tmp_path / "in"), str(tmp_path / "out"), str(generator), str(vgg), CONFIG)
    outcome = embed(job)
    assert (outcome.failed, outcome.acceptable) == (0, True)
    assert outcome.summary.statuses == {"not_an_image": 7, "ok": 2}
    rows = {row["image_id"]: row for row in read_table(job.out).to_pylist()}
    assert {name for name, row in rows.items() if row["status"] == "not_an_image"} == set(SIDE_FILES)
    assert "is not an image but JSON text" in rows["meta.json"]["error"] and rows["meta.json"]["latent"] is None
    found = read_status(job.out, [].append)
    assert (found.done, found.failed, found.last_failures) == (9, 0, [])
    assert verify(job.out).sound
    written = rows_written(monkeypatch)
    embed(replace(job, config=replace(CONFIG, retry_failed=True)))
    assert written == []


def test_what_should_be_an_image_fails(tmp_path: Path, generator: Path, vgg: Path) -> None:
    """An error page under the name of an image, an image that is cut off under any name."""
    fill(tmp_path / "in")
    (tmp_path / "in" / "page.JPG").write_text("<html>quota exceeded</html>")
    (tmp_path / "in" / "cut").write_bytes((tmp_path / "in" / "0.png").read_bytes()[:150])
    job = EmbedRunRequest(str(tmp_path / "in"), str(tmp_path / "out"), str(generator), str(vgg), CONFIG)
    outcome = embed(job)
    assert (outcome.failed, outcome.acceptable) == (2, False)
    assert outcome.summary.statuses == {"not_an_image": 7, "ok": 2, "unreadable": 2}
    most = replace(CONFIG, max_failed_fraction=0.5)  # of the four images, not of the eleven files
    assert replace(outcome, config=most).acceptable
    assert not replace(outcome, config=replace(CONFIG, max_failed_fraction=0.49)).acceptable


def test_the_choice_of_images_may_become_wider(
    tmp_path: Path, generator: Path, vgg: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fill(tmp_path / "in")
    chosen = SourceOptions(include=("*.png",), limit=1)
    job = EmbedRunRequest(
        str(tmp_path / "in"), str(tmp_path / "out"), str(generator), str(vgg), CONFIG, source_options=chosen
    )
    assert embed(job).summary.images == 1
    written = rows_written(monkeypatch)
    wider = replace(job, source_options=replace(chosen, limit=None), config=replace(CONFIG, grow=True))
    assert embed(wider).summary.images == 2 and written == ["1.png"]


def test_a_choice_that_leaves_planned_images_out_is_refused(tmp_path: Path, generator: Path, vgg: Path) -> None:
    fill(tmp_path / "in")
    config = replace(CONFIG, max_failed_fraction=1)
    job = EmbedRunRequest(str(tmp_path / "in"), str(tmp_path / "out"), str(generator), str(vgg), config)
    before = embed(job).summary.images
    for chosen, told in (
        (SourceOptions(limit=1), "--limit 1 is less"),
        (SourceOptions(include=("*.gif",)), "--include"),
    ):
        with pytest.raises(RunConflictError, match=f"{told}.*another OUT"):
            embed(replace(job, source_options=chosen))
    assert embed(replace(job, source_options=SourceOptions(exclude=("*.gif",)))).summary.images == before


def test_an_output_in_the_source_is_named(tmp_path: Path, generator: Path, vgg: Path) -> None:
    fill(tmp_path / "in")
    first = EmbedRunRequest(str(tmp_path / "in"), str(tmp_path / "in" / "out"), str(generator), str(vgg), CONFIG)
    embed(first)
    (tmp_path / "in" / "out" / "pictures").mkdir(exist_ok=True)
    scene(3, (40, 40)).save(tmp_path / "in" / "out" / "pictures" / "drawn.png")
    said: list[str] = []
    assert embed(replace(first, out=str(tmp_path / "second")), said=said).summary.images == 9
    assert any("holds outputs of earlier runs, which are left out: 'out'" in line for line in said)
