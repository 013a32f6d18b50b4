"""Landmarks as lists and JSON files hold them, and boxes."""

from __future__ import annotations

import json

import numpy as np
import pytest

from i2s_batch.errors import PictureError
from i2s_batch.images.align.landmarks import Landmarks, box_of, landmarks_in_json, landmarks_of

POINTS = [[30.5, 40.0], [70.0, 41.0], [50.0, 80.0]]
FIVE = [[30.5, 40.0], [70.0, 41.0], [50, 60], [40.0, 79.0], [60.0, 81.0]]


@pytest.mark.parametrize(
    "values",
    [
        {"left_eye": [30.5, 40], "right_eye": (70, 41.0), "mouth": np.array([50.0, 80.0])},
        {"left_eye": "[30.5, 40]", "right_eye": "70 41", "mouth": "(50; 80)"},
        {"left_eye": {"x": 30.5, "y": 40}, "right_eye": {"y": 41, "x": 70}, "mouth": [50, 80], "landmarks": None},
        {"landmarks": POINTS},
        {"landmarks": FIVE},
        {"landmarks": [number for point in FIVE for number in point]},
        {"landmarks": json.dumps(FIVE)},
    ],
)
def test_every_spelling_gives_the_same_points(values: dict[str, object]) -> None:
    found = landmarks_of(values.get)
    assert found is not None
    np.testing.assert_array_equal([found.left_eye, found.right_eye, found.mouth], POINTS)


def test_the_68_points_of_dlib() -> None:
    points = np.random.default_rng(0).uniform(0, 100, (68, 2))
    found = landmarks_of({"landmarks": points.tolist()}.get)
    assert found is not None
    np.testing.assert_allclose(found.left_eye, points[36:42].mean(0))
    np.testing.assert_allclose(found.right_eye, points[42:48].mean(0))
    np.testing.assert_allclose(found.mouth, (points[48] + points[54]) / 2)
    np.testing.assert_array_equal(Landmarks(found.flat.reshape(-1, 2)).points, points.astype(np.float32))


@pytest.mark.parametrize(
    ("values", "why"),
    [
        ({"left_eye": [1, 2]}, "has left_eye and no right_eye, mouth"),
        ({"left_eye": [1, 2, 3], "right_eye": [1, 2], "mouth": [1, 2]}, "left_eye cannot be used: it has 3 numbers"),
        ({"landmarks": [1, 2, 3, 4]}, "it has 4 numbers; give 3, 5 or 68 points"),
        ({"landmarks": [[1, 2], [3, float("nan")], [5, 6]]}, "nan"),
        ({"landmarks": "eyes, mouth"}, "'eyes, mouth'; give numbers"),
        ({"landmarks": True}, "True"),
        ({"landmarks": [[1, 2], [3, None], [5, 6]]}, "None"),
    ],
)
def test_what_is_no_landmarks_is_named(values: dict[str, object], why: str) -> None:
    with pytest.raises(PictureError, match=why.replace("(", r"\(")):
        landmarks_of(values.get)


def test_a_json_file_of_something_else_has_none() -> None:
    for content in (b"", b"[1, 2]", b"{", b'{"caption": "a face"}', b"\xff\xfe", b"[" * 100_000):
        assert landmarks_in_json(content) is None
    assert landmarks_in_json(json.dumps({"landmarks": FIVE, "caption": "x"}).encode()) is not None


def test_boxes_are_whole_pixels_within_the_image() -> None:
    assert box_of([10.4, 5, 30.2, 40], (100, 30)) == (10, 5, 31, 30)
    assert box_of(["[-3, 0, 20, 20]"], (15, 30)) == (0, 0, 15, 20)
    for bad in ([5, 5, 5, 9], [50, 50, 40, 60], [200, 0, 210, 10]):
        with pytest.raises(PictureError, match="holds no pixel of its 100 x 30"):
            box_of(bad, (100, 30))
    with pytest.raises(PictureError, match="3 numbers"):
        box_of([1, 2, 3], (100, 30))
