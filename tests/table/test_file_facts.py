"""The columns that say which file, folder, generator and run a row is of: filled by every kind of run, and verified."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from i2s_batch.api.verification import verify
from i2s_batch.config import EditConfig, EmbedConfig, EmbedRunConfig
from i2s_batch.editing import Morph
from i2s_batch.editing.edit_run import EditRun, EditRunRequest
from i2s_batch.embedding.embed_run import EmbedRunRequest
from i2s_batch.images.resize import fit_image, used_box
from i2s_batch.models import untrained
from i2s_batch.models.loading import generator_weights
from i2s_batch.output.layout import RunLayout
from i2s_batch.run.pools import InProcessCluster
from i2s_batch.schema.columns import columns_in, folder_of
from i2s_batch.storage import open_store
from i2s_batch.studies.study_config import StudyConfig
from i2s_batch.studies.study_run import StudyRun, StudyRunRequest
from i2s_batch.table.shards import read_shard, read_table
from tests.material import scene
from tests.runs import embed, rewrite_shard

NEW = {"folder", "bytes", "format", "mode", "crop_box", "generator_fingerprint", "run_id"}


def write_images(folder: Path) -> None:
    """Write a wide RGB PNG, a high grey JPEG that EXIF turns, a palette GIF, and a file that is cut off."""
    for name in ("cats", "dogs/young"):
        (folder / name).mkdir(parents=True)
    scene(0, (41, 24)).save(folder / "wide.png")
    grey = scene(1, (40, 24)).convert("L")
    exif = grey.getexif()
    exif[0x0112] = 6
    grey.save(folder / "cats" / "turned.jpg", exif=exif)
    scene(2, (16, 16)).convert("P").save(folder / "dogs" / "young" / "palette.gif")
    (folder / "cats" / "cut.png").write_bytes((folder / "wide.png").read_bytes()[:60])


@pytest.fixture(scope="module")
def job(tmp_path_factory: pytest.TempPathFactory, generator: Path, vgg: Path) -> EmbedRunRequest:
    folder = tmp_path_factory.mktemp("facts")
    write_images(folder / "in")
    config = EmbedRunConfig(embed=EmbedConfig(steps=2), batch_size=4, max_failed_fraction=1)
    made = EmbedRunRequest(str(folder / "in"), str(folder / "out"), str(generator), str(vgg), config)
    embed(made)
    return made


def rows_of(out: str) -> dict[str, dict[str, Any]]:
    return {row["image_id"]: row for row in read_table(out).to_pylist()}


def test_an_embedding_records_what_each_file_was(job: EmbedRunRequest) -> None:
    rows = rows_of(job.out)
    facts = {
        image_id: [row[name] for name in ("folder", "format", "mode", "width", "height", "crop_box")]
        for image_id, row in rows.items()
    }
    assert facts == {
        "cats/cut.png": ["cats", None, None, None, None, None],
        "cats/turned.jpg": ["cats", "JPEG", "L", 24, 40, [0.0, 8.0, 24.0, 32.0]],
        "dogs/young/palette.gif": ["dogs", "GIF", "P", 16, 16, [0.0, 0.0, 16.0, 16.0]],
        "wide.png": [None, "PNG", "RGB", 41, 24, [8.5, 0.0, 32.5, 24.0]],
    }
    for image_id, row in rows.items():
        assert row["bytes"] == Path(job.source, image_id).stat().st_size
    record = json.loads(Path(job.out, "run.json").read_text())
    assert len(record["run_id"]) == 36 and {row["run_id"] for row in rows.values()} == {record["run_id"]}
    assert {row["generator_fingerprint"] for row in rows.values()} == {record["generator"]["fingerprint"]}
    found = verify(job.out)
    assert found.sound and not found.unchecked


def test_a_resumed_run_keeps_its_id(job: EmbedRunRequest, tmp_path: Path) -> None:
    shutil.copytree(job.out, tmp_path / "out")
    scene(3, (20, 20)).save(Path(job.source) / "new.png")
    try:
        again = replace(job, out=str(tmp_path / "out"), config=replace(job.config, grow=True))
        embed(again)
    finally:
        Path(job.source, "new.png").unlink()
    rows = rows_of(again.out)
    assert "new.png" in rows and len({row["run_id"] for row in rows.values()}) == 1 and verify(again.out).sound


@pytest.mark.parametrize("fit", ["pad", "stretch"])
def test_all_of_an_image_is_used_unless_it_is_cropped(job: EmbedRunRequest, tmp_path: Path, fit: str) -> None:
    config = replace(job.config, embed=replace(job.config.embed, fit=fit))
    embed(replace(job, out=str(tmp_path / "out"), config=config))
    rows = rows_of(str(tmp_path / "out"))
    assert rows["wide.png"]["crop_box"] == [0.0, 0.0, 41.0, 24.0] and verify(str(tmp_path / "out")).sound


@pytest.mark.parametrize("size", [(41, 24), (24, 40), (17, 16), (30, 30)])
def test_the_box_is_what_fit_image_shows(size: tuple[int, int]) -> None:
    image = scene(5, size)
    box = used_box(*size, "crop")
    shown = np.asarray(image.resize((16, 16), 1, box=box))  # 1: Lanczos
    np.testing.assert_array_equal(shown, fit_image(np.asarray(image), 16, "crop"))


def test_an_edit_records_its_files_and_the_folder_of_its_first_parent(job: EmbedRunRequest, tmp_path: Path) -> None:
    out = str(tmp_path / "out")
    request = Morph((0.5,), "all-pairs")
    edit = EditRunRequest((job.out,), out, job.generator, request, EditConfig(picture_format="jpeg"))
    EditRun(edit, generator_weights(job.generator), print).execute(InProcessCluster(1))
    rows = list(rows_of(out).values())
    assert len(rows) == 3 and {row["folder"] for row in rows} == {"cats", "dogs"}
    for row in rows:
        assert row["folder"] == folder_of(row["parents"][0]) and (row["format"], row["mode"]) == ("JPEG", "RGB")
        assert row["bytes"] == Path(row["uri"]).stat().st_size and row["crop_box"] is None
    record = json.loads(Path(out, "run.json").read_text())
    assert {row["run_id"] for row in rows} == {record["run_id"]} and verify(out).sound


def test_variants_without_training_have_the_fingerprint_of_their_own_generator(
    job: EmbedRunRequest, tmp_path: Path
) -> None:
    config = StudyConfig(embed=EmbedConfig(steps=2), study="space", sample=1, batch_size=2)
    StudyRun(StudyRunRequest(job.source, str(tmp_path / "out"), job.generator, job.vgg, config), print).execute(
        InProcessCluster(1)
    )
    weights = generator_weights(job.generator)
    found = {row["variant"]: row["generator_fingerprint"] for row in rows_of(str(tmp_path / "out")).values()}
    assert set(found.values()) == {weights.fingerprint, untrained(weights).fingerprint}
    assert found["w+untrained"] == untrained(weights).fingerprint and verify(str(tmp_path / "out")).sound


@pytest.mark.parametrize(
    ("changes", "what"),
    [
        ({"folder": "dogs"}, "its folder is 'dogs'; its id gives 'cats'"),
        ({"bytes": 7}, "its bytes is 7; the file gives "),
        ({"bytes": None}, "it has a width, and of its bytes, format and mode some are null"),
        ({"format": "PNG"}, "its format is PNG; the file gives JPEG"),
        ({"mode": "RGB"}, "its mode is RGB; the file gives L"),
        ({"crop_box": [0.0, 0.0, 24.0, 24.0]}, "its crop_box is [0.0, 0.0, 24.0, 24.0]; its size gives [0.0, 8.0, "),
        ({"generator_fingerprint": "0" * 64}, f"its generator_fingerprint is '{64 * '0'}'; that of the run is '"),
        ({"run_id": None}, "its run_id is None; that of the run is '"),
    ],
)
def test_verify_names_a_wrong_fact(job: EmbedRunRequest, tmp_path: Path, changes: dict[str, object], what: str) -> None:
    shutil.copytree(job.out, tmp_path / "out")
    change(str(tmp_path / "out"), "cats/turned.jpg", lambda row: row | changes)
    (finding,) = verify(str(tmp_path / "out")).findings
    assert finding.row == "cats/turned.jpg" and finding.what.startswith(what), finding.what


def change(out: str, image_id: str, edit: Callable[[dict[str, Any]], dict[str, Any]]) -> None:
    """Publish the one shard with another row, as a program would whose rows are wrong."""
    store = open_store(out)
    table = read_shard(store, RunLayout.shard(0))
    rows = [edit(row) if row["image_id"] == image_id else row for row in table.to_pylist()]
    metadata = {name.decode(): value.decode() for name, value in table.schema.metadata.items()}
    rewrite_shard(store, 0, pa.Table.from_pylist(rows, table.schema), metadata)


def test_versions_have_the_columns_that_they_had() -> None:
    names = [[column.name for column in columns_in(version)] for version in (1, 2, 3)]
    assert set(names[1]) - set(names[0]) == {"vanished_at"} and set(names[2]) - set(names[1]) == NEW
    assert [name for name in names[2] if name not in NEW] == names[1], "in the order that they had"


@pytest.mark.parametrize(
    ("image_id", "folder"),
    [("a.png", None), ("cats/a.png", "cats"), ("cats/b/a.png", "cats"), ("./%ff/a.png", "%ff"), ("/abs/a.png", "abs")],
)
def test_the_folder_is_the_first_of_the_id(image_id: str, folder: str | None) -> None:
    assert folder_of(image_id) == folder
