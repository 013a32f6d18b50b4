"""The detector: what it finds, and what becomes of an image on which it crashes, hangs or fails."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from i2s_batch.demo.faces import NAMES, render
from i2s_batch.embedding.alignment_warning import SampledFaces, look_at_sample, sampled
from i2s_batch.errors import ConfigError, DetectorError
from i2s_batch.images.align import detector as module
from i2s_batch.images.align.detector import FaceDetector, is_installed, model_file
from i2s_batch.images.align.landmarks import Landmarks
from i2s_batch.images.read.decoding import encode_image
from tests.alignment import faulty_detector as told
from tests.alignment.drawn import known_landmarks

FOUND_IN = 9  # of the drawn faces: most are too simple for a detector of real ones


@pytest.fixture
def faulty(monkeypatch: pytest.MonkeyPatch) -> Iterator[FaceDetector]:
    monkeypatch.setattr(module, "PROCESS", "tests.alignment.faulty_detector")
    detector = FaceDetector(image_s=0.5)
    yield detector
    detector.close()


def image(first: int, side: int = 64) -> np.ndarray:
    pixels = np.zeros((side, side, 3), np.uint8)
    pixels[:4, :4] = first
    return pixels


def test_a_face_is_found_where_it_is_whatever_its_size_and_place() -> None:
    assert is_installed() and model_file(None).name.endswith(".onnx")
    coordinates = np.random.default_rng(0).standard_normal((12, len(NAMES)))[FOUND_IN : FOUND_IN + 1]
    small, known = render(coordinates, 256)[0], known_landmarks(coordinates, 256)
    canvas = np.full((500, 700, 3), 128, np.uint8)
    canvas[150:406, 300:556] = small
    detector = FaceDetector()
    try:
        (alone,), (placed,) = detector.faces(small), detector.faces(canvas)
        np.testing.assert_allclose(placed.points - [300, 150], alone.points, atol=8)
        for found, drawn in zip((alone.left_eye, alone.right_eye, alone.mouth), known.points, strict=True):
            assert np.hypot(*(found - drawn)) < 12, "a fifth of the distance between the eyes"
        assert detector.faces(np.full((300, 200, 3), 90, np.uint8)) == []
    finally:
        detector.close()


@pytest.mark.parametrize(
    ("fault", "why"),
    [
        (told.CRASH, "ended with SIGSEGV"),
        (told.HANG, "took more than 0.5 s"),
        (told.NONSENSE, "answered nonsense"),
        (told.FAIL, "ended with status 1"),
    ],
)
def test_an_image_that_the_detector_does_not_survive_is_one_image(faulty: FaceDetector, fault: int, why: str) -> None:
    assert len(faulty.faces(image(told.TWO_FACES))) == 2
    with pytest.raises(DetectorError, match=why):
        faulty.faces(image(fault))
    (found,) = faulty.faces(image(told.FACE))
    np.testing.assert_array_equal(found.points, told.POINTS)


def test_the_process_ends_with_the_detector(faulty: FaceDetector) -> None:
    faulty.faces(image(told.NO_FACE))
    number = faulty.process_id
    assert number is not None
    faulty.close()
    with pytest.raises(ProcessLookupError):
        os.kill(number, 0)


def test_points_are_those_of_the_whole_image(faulty: FaceDetector) -> None:
    large = image(told.FACE, 5000)
    large[:16, :16] = told.FACE  # 3.9 pixels become one
    (found,) = faulty.faces(large)
    np.testing.assert_allclose((found.points + 0.5) * 1280 / 5000 - 0.5, told.POINTS, atol=1e-6)


def test_a_model_that_is_none_is_named_before_a_run(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="is no file of this machine"):
        model_file(str(tmp_path / "none.onnx"))
    (tmp_path / "text.onnx").write_text("no model")
    with pytest.raises(DetectorError, match=r"cannot start with the model .*text\.onnx: it ended with status 1"):
        FaceDetector(str(tmp_path / "text.onnx")).faces(image(0))


def test_without_the_package_its_name_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "PACKAGE", "no_such_package")
    assert not is_installed()
    with pytest.raises(ConfigError, match=r"pip install 'i2s_batch\[align\]'"):
        model_file(None)


class Stub(FaceDetector):
    """Finds the faces that it is given, in turn."""

    def __init__(self, answers: list[list[Landmarks]]) -> None:
        super().__init__()
        self.answers = answers

    def faces(self, pixels: np.ndarray) -> list[Landmarks]:
        return self.answers.pop(0)


def uris(folder: Path, count: int, side: int = 160) -> list[str]:
    for number in range(count):
        (folder / f"{number}.png").write_bytes(encode_image(image(0, side), "png"))
    return [str(folder / f"{number}.png") for number in range(count)]


def test_a_sample_whose_faces_are_elsewhere_is_worth_a_line(tmp_path: Path) -> None:
    there = [Landmarks(np.array([[60.0, 75.0], [100.0, 75.0], [80.0, 115.0]]))]
    elsewhere = [Landmarks(np.array([[10.0, 15.0], [30.0, 15.0], [20.0, 35.0]]))]
    found = look_at_sample(uris(tmp_path, 6), "crop", Stub([there, [], elsewhere, elsewhere, elsewhere, []]))
    assert found == SampledFaces(6, 4, 3)
    line = "4 of 6 sampled images have a face, 3 of them not where FFHQ has it; use --align ffhq"
    assert found.warning is not None and found.warning.startswith(line)
    assert SampledFaces(10, 5, 5).warning is None  # no more than half are faces
    assert SampledFaces(50, 40, 4).warning is None  # most are in place


def test_little_is_looked_at_where_it_makes_no_sense(tmp_path: Path) -> None:
    none = Stub([[] for _ in range(30)])
    assert look_at_sample(uris(tmp_path, 30), "crop", none).images == 12 and len(none.answers) == 18
    assert look_at_sample([*uris(tmp_path, 3, side=100), str(tmp_path / "gone.png")], "crop", Stub([])).images == 0
    late = iter([0.0, 1.0, 100.0])
    assert look_at_sample(uris(tmp_path, 3), "crop", Stub([[], []]), lambda: next(late)).images == 1
    assert sampled(3) == [0, 1, 2] and len(sampled(70_000)) == 50 and sampled(70_000)[-1] == 69_999
    assert sampled(0) == []
