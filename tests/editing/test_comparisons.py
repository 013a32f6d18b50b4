"""Renders beside their photographs: on the contact sheet, and as files with --side-by-side."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import i2s_batch as program
from i2s_batch import load_generator
from i2s_batch.config import EditConfig, EmbedConfig, EmbedRunConfig
from i2s_batch.editing import Morph, Render
from i2s_batch.editing.edit_run import EditRun, EditRunRequest
from i2s_batch.editing.strips import load_strips
from i2s_batch.embedding.embed_run import EmbedRunRequest
from i2s_batch.errors import ConfigError
from i2s_batch.images.read.decoding import decode_image
from i2s_batch.images.resize import fit_image
from i2s_batch.models.loading import generator_weights
from i2s_batch.run.pools import InProcessCluster
from tests.material import scene
from tests.program import here, i2s_batch
from tests.runs import embed

NAMES = ("cats/wide.png", "dogs/high.png", "dogs/high.jpg")


@pytest.fixture
def job(tmp_path: Path, generator: Path, vgg: Path) -> EditRunRequest:
    """A table of three photographs, and a render of it that compares."""
    for number, name in enumerate(NAMES):
        path = tmp_path / "in" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        scene(number, (40 - 10 * number, 20 + 10 * number)).save(path)
    config = EmbedRunConfig(embed=EmbedConfig(steps=2, fit="pad"), batch_size=4)
    embed(EmbedRunRequest(str(tmp_path / "in"), str(tmp_path / "table"), str(generator), str(vgg), config))
    made = EditConfig(side_by_side=True)
    return EditRunRequest((str(tmp_path / "table"),), str(tmp_path / "out"), str(generator), Render(), made)


def carry_out(job: EditRunRequest) -> list[str]:
    said: list[str] = []
    EditRun(job, generator_weights(job.generator), said.append).execute(InProcessCluster(1))
    return said


def files_below(folder: Path) -> list[str]:
    return sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*.*"))


def test_each_photograph_stands_beside_its_reconstruction(job: EditRunRequest, tmp_path: Path) -> None:
    carry_out(job)
    out = Path(job.out)
    expected = ["cats/wide.png", "dogs/high-2.png", "dogs/high.png"]
    assert files_below(out / "pictures") == files_below(out / "side-by-side") == expected
    for name, source in zip(expected, (NAMES[0], NAMES[1], NAMES[2]), strict=True):
        both = np.asarray(Image.open(out / "side-by-side" / name))
        photograph = fit_image(decode_image((tmp_path / "in" / source).read_bytes()), 16, "pad")
        np.testing.assert_array_equal(both[:, :16], photograph, err_msg=name)
        np.testing.assert_array_equal(both[:, 16:], np.asarray(Image.open(out / "pictures" / name)))


def test_what_is_there_stays_and_what_has_no_photograph_is_counted(job: EditRunRequest, tmp_path: Path) -> None:
    carry_out(replace(job, config=EditConfig()))
    assert not Path(job.out, "side-by-side").exists()
    (tmp_path / "in" / NAMES[0]).unlink()
    scene(9, (20, 20)).save(tmp_path / "in" / NAMES[1])
    said = carry_out(job)
    assert "1 image written beside its photograph" in said
    assert (
        "2 photographs are gone, changed or unreadable: no comparison is made of what was embedded from there" in said
    )
    (one,) = Path(job.out, "side-by-side").rglob("*.png")
    one.write_bytes(b"kept")
    carry_out(job)
    assert one.read_bytes() == b"kept"


def test_the_sheet_shows_photographs_where_they_are(job: EditRunRequest, generator: Path, tmp_path: Path) -> None:
    carry_out(job)
    (tmp_path / "in" / NAMES[0]).unlink()
    strips = {strip.caption: strip for strip in load_strips(job.out, lambda: load_generator(generator))}
    assert sorted(strips) == [
        "dogs/high.jpg | reconstruction",
        "dogs/high.png | reconstruction",
        "render of cats/wide.png",
    ]
    assert strips["render of cats/wide.png"].before == []
    (photograph,) = strips["dogs/high.jpg | reconstruction"].before
    wanted = fit_image(decode_image((tmp_path / "in" / NAMES[2]).read_bytes()), 16, "pad")
    np.testing.assert_array_equal(photograph, wanted)
    shutil.rmtree(tmp_path / "table")
    alone = load_strips(job.out, lambda: load_generator(generator))
    assert all(strip.before == [] and strip.after[0] is not None for strip in alone), "the table may be gone"


def test_the_option_is_of_renders_alone(job: EditRunRequest, tmp_path: Path) -> None:
    (table,) = job.latents
    with pytest.raises(ConfigError, match="no photograph shows what morph makes"):
        program.edit(table, job.out, Morph((0.5,), "chain"), side_by_side=True)
    refused = here("edit", "morph", table, job.out, "--chain", "--side-by-side")
    assert refused.returncode == 2 and "No such option" in refused.stderr and not Path(job.out).exists()
    done = i2s_batch("render", table, job.out, "--side-by-side", "--in-process", "--where", "folder = 'cats'")
    assert done.returncode == 0 and f"Beside their photographs: {job.out}/side-by-side/" in done.stdout, done.stderr
    assert files_below(Path(job.out, "side-by-side")) == ["cats/wide.png"]
