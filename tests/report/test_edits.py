"""The contact sheet and the report of an edit: what is drawn for them, and what is read."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType

import numpy as np
import pytest
from PIL import Image

from i2s_batch import load_generator
from i2s_batch.config import EditConfig, EmbedConfig, EmbedRunConfig
from i2s_batch.editing import Morph
from i2s_batch.editing.edit_run import EditRun, EditRunRequest
from i2s_batch.editing.strips import Strip, load_strips
from i2s_batch.models import Generator, build_generator
from i2s_batch.models.loading import generator_weights
from i2s_batch.run.pools import InProcessCluster
from i2s_batch.table.shards import read_rows
from tests.program import status_of
from tests.runs import embed, job_over

IMAGES = ["01.png", "02.png", "03.png"]


@pytest.fixture(scope="module")
def latents(tmp_path_factory: pytest.TempPathFactory, generator: Path, vgg: Path) -> Path:
    job = job_over(tmp_path_factory.mktemp("edits"), IMAGES, generator, vgg, EmbedRunConfig(embed=EmbedConfig(steps=1)))
    embed(job)
    return Path(job.out)


@pytest.fixture
def morphs(latents: Path, generator: Path, tmp_path: Path) -> Path:
    """Three sequences of three pictures."""
    request = Morph((0.0, 0.5, 1.0), "all-pairs")
    job = EditRunRequest((str(latents),), str(tmp_path / "out"), str(generator), request, EditConfig())
    EditRun(job, generator_weights(str(generator)), [].append).execute(InProcessCluster())
    return tmp_path / "out"


class Counted:
    """A generator that counts its pictures, and how often it is asked for."""

    def __init__(self, path: Path) -> None:
        self.generator = load_generator(path)
        self.asked = self.drawn = 0
        synthesize = self.generator.synthesize

        def counted(ws):
            self.drawn += len(ws)
            return synthesize(ws)

        self.generator.synthesize = counted

    def __call__(self) -> Generator:
        self.asked += 1
        return self.generator


def file_of(morphs: Path, strip: Strip, frame: int) -> Path:
    (row,) = read_rows(str(morphs), [f"{strip.name}/{frame:05d}"])
    return morphs / str(row.extra["image_file"])


def test_what_was_made_is_read_and_each_parent_is_drawn_once(morphs: Path, generator: Path) -> None:
    network = Counted(generator)
    strips = load_strips(str(morphs), network)
    assert network.drawn == len(IMAGES), "nine pictures have files; of six parents three are the same"
    assert [len(strip.before) for strip in strips] == [2, 2, 2] and [len(strip.after) for strip in strips] == [3, 3, 3]
    for strip in strips:
        for frame, pixels in enumerate(strip.after):
            np.testing.assert_array_equal(pixels, np.asarray(Image.open(file_of(morphs, strip, frame))))
        np.testing.assert_array_equal(strip.before[0], strip.after[0])
        np.testing.assert_array_equal(strip.before[1], strip.after[-1])


def test_a_file_that_is_gone_or_has_changed_is_drawn_from_its_latent(morphs: Path, generator: Path) -> None:
    expected = load_strips(str(morphs), Counted(generator))
    file_of(morphs, expected[0], 1).unlink()
    Image.new("RGB", (16, 16)).save(file_of(morphs, expected[1], 1))
    network = Counted(generator)
    found = load_strips(str(morphs), network)
    assert network.drawn == len(IMAGES) + 2
    for strip, other in zip(found, expected, strict=True):
        np.testing.assert_array_equal(strip.after, other.after)


def test_without_tables_of_parents_no_generator_is_asked_for(
    morphs: Path, latents: Path, generator: Path, request: pytest.FixtureRequest
) -> None:
    away = latents.rename(latents.with_name("away"))
    request.addfinalizer(lambda: away.rename(latents))
    network = Counted(generator)
    strips = load_strips(str(morphs), network)
    assert network.asked == 0 and all(strip.before == [None, None] for strip in strips)


@contextmanager
def calls_of(function: Callable[..., object]) -> Iterator[list[str]]:
    """The calls of a function by this thread, each by the name of the file that calls."""
    calls: list[str] = []

    def note(frame: FrameType, event: str, _: object) -> None:
        if event == "call" and frame.f_code is function.__code__ and frame.f_back is not None:
            calls.append(Path(frame.f_back.f_code.co_filename).name)

    before = sys.getprofile()
    sys.setprofile(note)
    try:
        yield calls
    finally:
        sys.setprofile(before)


def test_a_command_builds_the_generator_once_beside_the_worker(latents: Path, tmp_path: Path) -> None:
    words = ["edit", "morph", latents, tmp_path / "out", "--chain", "--frames", 3, "--in-process"]
    with calls_of(build_generator) as calls:
        assert status_of(*words) == 0
    assert len(calls) == 2, f"one is the worker's, in this very process; built by {calls}"
    with calls_of(build_generator) as calls:
        assert status_of(*words) == 0
    assert len(calls) == 1, "there is no worker, and the parents are drawn once for sheet and report"
    assert (tmp_path / "out" / "contact-sheet.png").is_file() and (tmp_path / "out" / "report.html").is_file()
    with calls_of(build_generator) as calls:
        assert status_of("report", tmp_path / "out") == 0
    assert len(calls) == 1
