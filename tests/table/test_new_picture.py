"""Neighbours of a picture that is embedded for the search: it gets the code that the run gives to it."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from i2s_batch import read_latents
from i2s_batch.config import EditConfig, EmbedConfig, EmbedRunConfig, LossWeights
from i2s_batch.editing import Render
from i2s_batch.editing.edit_run import EditRun, EditRunRequest
from i2s_batch.embedding.embed_run import EmbedRunRequest
from i2s_batch.embedding.single_image import embed_image
from i2s_batch.errors import CheckpointError, ConfigError, PictureError, RunConflictError, StorageError
from i2s_batch.models.loading import generator_weights
from i2s_batch.run.pools import InProcessCluster
from i2s_batch.sources.source import item_in
from i2s_batch.table.neighbours import find_neighbours
from tests.material import scene
from tests.program import here, i2s_batch, refusal
from tests.runs import embed

CONFIG = EmbedRunConfig(embed=EmbedConfig(steps=4), batch_size=3)


@pytest.fixture(scope="module")
def job(tmp_path_factory: pytest.TempPathFactory, generator: Path, vgg: Path) -> EmbedRunRequest:
    """A finished run over five pictures, none of them square."""
    folder = tmp_path_factory.mktemp("new")
    (folder / "in" / "deep").mkdir(parents=True)
    for number in range(5):
        scene(number, (50, 40)).save(folder / "in" / "deep" / f"{number}.png")
    job = EmbedRunRequest(str(folder / "in"), str(folder / "out"), str(generator), str(vgg), CONFIG)
    embed(job)
    return job


def test_a_picture_of_the_run_finds_itself(job: EmbedRunRequest) -> None:
    told: list[tuple[int, int]] = []
    picture = embed_image(job.out, f"{job.source}/deep/2.png", progress=lambda *steps: told.append(steps))
    first, second, *_ = find_neighbours(job.out, picture.latent).neighbours
    assert picture.image_id == first.image_id == "deep/2.png"
    assert first.distance < 1e-4 * second.distance, "batches of three and of one round differently"
    assert told[0] == (0, 4) and all(steps == 4 and done <= 4 for done, steps in told)
    with Image.open(Path(job.source, "deep/2.png")) as original:
        assert picture.original.shape == picture.reconstruction.shape == (16, 16, 3) and original.size == (50, 40)


def test_a_copy_of_a_picture_of_the_run_starts_where_the_picture_did(job: EmbedRunRequest, tmp_path: Path) -> None:
    """Random starts are drawn for the id; a copy elsewhere has that of the table, and another picture its name."""
    config = replace(CONFIG, precision="fp64", embed=SETTINGS["random starts"])
    job = replace(job, out=str(tmp_path / "out"), config=config)
    embed(job)
    shutil.copy(f"{job.source}/deep/4.png", tmp_path / "copy.png")
    picture = embed_image(job.out, str(tmp_path / "copy.png"))
    (found,) = find_neighbours(job.out, picture.latent, 1).neighbours
    assert picture.image_id == found.image_id == "deep/4.png" and found.distance < 1e-5
    scene(9, (50, 40)).save(tmp_path / "copy.png")
    assert embed_image(job.out, str(tmp_path / "copy.png")).image_id == "copy.png"


SETTINGS = {
    "random starts": EmbedConfig(steps=3, init="random", seed=7),
    "space w, padded": EmbedConfig(steps=3, space="w", fit="pad"),
    "space z": EmbedConfig(steps=2, space="z"),
    "an early end": EmbedConfig(steps=8, stop_plateau=99, plateau_steps=2),
    "another optimizer": EmbedConfig(steps=8, optimizer="lbfgs"),
    "other weights and rate": EmbedConfig(steps=3, learning_rate=0.1, loss_weights=LossWeights(pixel=3.0, conv4_2=0.0)),
}


@pytest.mark.usefixtures("short_warm_up")
@pytest.mark.parametrize("name", SETTINGS)
def test_a_new_picture_gets_the_code_that_the_run_would_give_it(
    job: EmbedRunRequest, tmp_path: Path, name: str
) -> None:
    """In float64, with the run's own settings; the run grows by the picture afterwards."""
    source = tmp_path / "in"
    shutil.copytree(job.source, source)
    config = replace(CONFIG, precision="fp64", embed=SETTINGS[name])
    job = replace(job, source=str(source), out=str(tmp_path / "out"), config=config)
    embed(job)
    scene(9, (30, 44)).save(source / "deep" / "new.png")
    picture = embed_image(job.out, str(source / "deep" / "new.png"))
    embed(replace(job, config=replace(config, grow=True)))
    table = read_latents(job.out)
    code = table.latents[table.ids.index("deep/new.png")].ravel()
    np.testing.assert_allclose(picture.latent, code, rtol=0, atol=1e-6)
    others = [other for image_id, other in zip(table.ids, table.latents, strict=True) if image_id != "deep/new.png"]
    assert min(np.abs(other.ravel() - code).max() for other in others) > 1e-3


def test_ids_are_those_of_a_run_over_the_source(tmp_path: Path) -> None:
    for source, path, expected in (
        ("/a/in", "/a/in/b/c.png", "b/c.png"),
        ("/a/../a/in/", "/a/in/x/../c.png", "c.png"),
        ("/a/in", "/a/inside/c.png", "c.png"),
        ("/a/*/x-?.png", "/a/b/x-1.png", "b/x-1.png"),
        ("/a/in/one.png", "/a/in/one.png", "one.png"),
        ("/a/list.csv", "/a/b/c.png", "b/c.png"),
        ("/a/list.csv", "/b/c.png", "/b/c.png"),
        ("s3://bucket/in", "s3://bucket/in/b/c.png", "b/c.png"),
        ("s3://bucket/in", "s3://other/b/c.png", "c.png"),
        ("s3://bucket/list.txt", "s3://bucket/b/c.png", "b/c.png"),
        ("s3://bucket/list.txt", "s3://other/b/c.png", "s3://other/b/c.png"),
    ):
        assert item_in(source, path)[0] == expected, (source, path)


def test_what_cannot_be_embedded(job: EmbedRunRequest, generator: Path, tmp_path: Path) -> None:
    page = tmp_path / "page.png"
    page.write_text("<html>")
    good = f"{job.source}/deep/1.png"
    with pytest.raises(PictureError, match=r"page\.png' cannot be embedded: the file is not an image but "):
        embed_image(job.out, str(page))
    with pytest.raises(PictureError, match=r"nowhere\.png"):
        embed_image(job.out, str(tmp_path / "nowhere.png"))
    with pytest.raises(StorageError, match=r"holds no output"):
        embed_image(str(tmp_path / "nowhere"), good)
    with pytest.raises(RunConflictError, match=r"was made by the VGG-16 "):
        embed_image(job.out, good, vgg="random")
    lost = tmp_path / "out"
    shutil.copytree(job.out, lost)
    record = lost / "run.json"
    record.write_text(record.read_text().replace("vgg.pth", "lost.pth"))
    with pytest.raises(CheckpointError, match=r"the VGG-16 is not available here \(.*lost\.pth.*give it with --vgg"):
        embed_image(str(lost), good)
    assert embed_image(str(lost), good, vgg=job.vgg, steps=1).image_id == "deep/1.png"
    edits = EditRunRequest((job.out,), str(tmp_path / "edits"), str(generator), Render(), EditConfig())
    EditRun(edits, generator_weights(generator), [].append).execute(InProcessCluster())
    with pytest.raises(ConfigError, match=r"edits holds edits; an image can be embedded only"):
        embed_image(edits.out, good)


@pytest.mark.slow
def test_the_command_and_its_sheet(job: EmbedRunRequest, tmp_path: Path) -> None:
    sheet, new = tmp_path / "near.png", tmp_path / "new.png"
    scene(3, (50, 40)).save(new)
    result = i2s_batch("neighbours", job.out, "--image", new, "-k", "2", "--sheet", sheet)
    assert result.returncode == 0, result.stderr
    first = result.stdout.splitlines()[2].split()
    assert first[0] == "1" and float(first[1]) < 1e-3 and first[2] == "deep/3.png"
    embedded, searched, drawn = result.stderr.splitlines()
    assert embedded.startswith(f"{new}: embedded in ") and searched.startswith("5 latents, ")
    assert drawn == f"{sheet}: written"
    with Image.open(sheet) as image:
        assert image.size[0] > 3 * 2 * 128, "the picture and its two neighbours"
    assert "page.png" in refusal(here("neighbours", job.out, "--image", tmp_path / "page.png"))
