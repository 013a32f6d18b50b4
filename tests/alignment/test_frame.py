"""The FFHQ frame: where a face comes to lie, what is around it, and the way back."""

from __future__ import annotations

import numpy as np
import pytest
from PIL import Image

from i2s_batch.errors import PictureError
from i2s_batch.images.align.frame import ffhq_transform, is_aligned, moved, rescaled
from i2s_batch.images.align.landmarks import Landmarks
from i2s_batch.images.align.paste import pasted
from i2s_batch.images.align.warp import aligned, corners_of, inverse_of
from tests.alignment.drawn import centres, face, marked, photograph

UPRIGHT = Landmarks(np.array([[100.0, 120.0], [160.0, 120.0], [130.0, 190.0]]))


def expected_positions(points: Landmarks, resolution: int) -> np.ndarray:
    """Where FFHQ has eyes and mouth, computed from distances and angles alone."""
    left, right, mouth = (complex(*point) for point in (points.left_eye, points.right_eye, points.mouth))
    across, down = right - left, mouth - (left + right) / 2
    side = max(4 * abs(across), 3.6 * abs(down))
    axis = across + down * -1j  # of the image, whose y points downwards: down turned to the right
    centre = (left + right) / 2 + 0.1 * down
    placed = [(point - centre) / (axis / abs(axis)) / side for point in (left, right, mouth)]
    return np.array([[z.real, z.imag] for z in placed]) * resolution + (resolution - 1) / 2


@pytest.mark.parametrize("number", range(4))
def test_marks_on_a_face_turned_scaled_and_moved_come_to_lie_where_ffhq_has_them(number: int) -> None:
    drawn, points = face(number)
    turned, there = photograph(marked(drawn, points.points), points, number)
    square = aligned(turned, ffhq_transform(there, (900, 700), 1024), 1024)
    found = centres(square)
    assert np.abs(found - expected_positions(points, 1024)).max() < 0.5
    # Upright: the eyes beside each other around the middle, the mouth below.
    assert found[0, 0] < 512 < found[1, 0] and found[2, 1] > found[:2, 1].max() + 100


def test_a_face_is_aligned_alike_however_it_was_turned() -> None:
    drawn, points = face(3)
    upright = aligned(drawn, ffhq_transform(points, (512, 512), 256), 256).astype(int)
    for number in (1, 2):
        turned, there = photograph(drawn, points, number)
        again = aligned(turned, ffhq_transform(there, (900, 700), 256), 256)
        assert np.abs(again - upright)[64:192, 64:192].mean() < 3


def test_the_published_square_of_a_known_face() -> None:
    transform = ffhq_transform(UPRIGHT, (400, 400), 1024)
    side = max(4.0 * 60, 3.6 * 70)  # 252
    corners = corners_of(transform, 1024)
    centre = np.array([130.0, 127.0])  # a tenth of the way from the eyes to the mouth
    np.testing.assert_allclose(corners, centre + side / 2 * np.array([[-1, -1], [1, -1], [1, 1], [-1, 1]]), atol=1e-3)
    np.testing.assert_allclose(moved(inverse_of(transform), moved(transform, corners)), corners, atol=1e-6)
    half = rescaled(transform, 0.5)
    np.testing.assert_allclose(half, ffhq_transform(UPRIGHT, (400, 400), 512), rtol=1e-5, atol=1e-4)


@pytest.mark.parametrize(
    ("points", "why"),
    [
        ([[10, 10], [10, 10], [10, 10]], "one point"),
        ([[0.1, 0.1], [0.2, 0.1], [0.15, 0.2]], "square 0.4"),
        ([[-500, 10], [-460, 10], [-480, 50]], "100 x 80 pixels"),
        ([[10, 10], [90000, 10], [500, 500]], "100 x 80 pixels"),
    ],
)
def test_landmarks_of_something_else_are_refused(points: list[list[float]], why: str) -> None:
    with pytest.raises(PictureError, match=why):
        ffhq_transform(Landmarks(np.array(points, float)), (100, 80), 64)


def test_fine_patterns_do_not_alias() -> None:
    down, across = np.mgrid[:800, :800]
    board = np.repeat((255 * ((down + across) % 2)).astype(np.uint8)[..., None], 3, axis=2)
    points = Landmarks(np.array([[250.0, 350.0], [440.0, 380.0], [325.0, 550.0]]))
    transform = ffhq_transform(points, (800, 800), 128)
    assert aligned(board, transform, 128)[32:96, 32:96].std() < 2
    plain = Image.fromarray(board).transform((128, 128), Image.Transform.AFFINE, tuple(inverse_of(transform)))
    assert np.asarray(plain)[32:96, 32:96].std() > 50  # what it would be without care


def test_outside_the_image_is_its_reflection_and_inside_nothing_is_blurred() -> None:
    drawn, _ = face(1)
    points = Landmarks(np.array([[39.5, 59.5], [139.5, 59.5], [89.5, 149.5]]))  # 400 pixels from (-110, -131) on
    square = aligned(drawn, ffhq_transform(points, (512, 512), 400), 400)
    left, top = 110, 131
    np.testing.assert_array_equal(square[top:, left:], drawn[: 400 - top, : 400 - left])
    near = np.abs(square[top - 8 : top, left:].astype(int) - square[top : top + 8, left:][::-1])
    assert near.mean() < 12
    far = square[:20, :20].astype(float)
    assert far.std(axis=(0, 1)).max() < square[top:, left:].astype(float).std(axis=(0, 1)).max() / 4


def test_only_an_image_with_its_face_in_place_is_aligned() -> None:
    _, points = face(2)
    transform = ffhq_transform(points, (512, 512), 512)
    there = Landmarks(moved(transform, points.points))
    assert is_aligned(there, (512, 512), "crop") and is_aligned(
        Landmarks(there.points + np.array([100, 0])), (712, 512), "crop"
    )
    assert not is_aligned(there, (712, 512), "crop")
    assert not is_aligned(Landmarks((there.points - 255.5) * 0.6 + 255.5), (512, 512), "crop")
    turn = np.array([[np.cos(0.3), -np.sin(0.3)], [np.sin(0.3), np.cos(0.3)]])
    assert not is_aligned(Landmarks((there.points - 255.5) @ turn.T + 255.5), (512, 512), "crop")


@pytest.mark.parametrize("resolution", [64, 1024])
@pytest.mark.parametrize("number", [0, 4])
def test_a_face_that_is_pasted_back_leaves_the_photograph_as_it_was(number: int, resolution: int) -> None:
    drawn, points = face(number)
    photo, there = photograph(drawn, points, number)
    transform = ffhq_transform(there, (900, 700), resolution)
    back = pasted(photo, aligned(photo, transform, resolution), transform)
    outside = _outside(transform, photo.shape[:2], resolution)
    np.testing.assert_array_equal(back[outside], photo[outside])
    assert 0.05 < outside.mean() < 0.95
    if resolution == 1024:  # larger than in the photograph: nothing is lost on the way
        assert np.abs(back.astype(int) - photo).mean() < 0.5


def test_the_border_of_a_pasted_face_has_the_colours_of_the_photograph() -> None:
    drawn, points = face(5)
    photo, there = photograph(drawn, points, 5)
    transform = ffhq_transform(there, (900, 700), 256)
    darker = (aligned(photo, transform, 256) * 0.6).astype(np.uint8)
    back = pasted(photo, darker, transform)
    edge = (
        moved(inverse_of(transform), np.stack([np.full(200, 8.0), np.linspace(20, 236, 200)], axis=1))
        .round()
        .astype(int)
    )
    inside = (edge >= 0).all(1) & (edge < [900, 700]).all(1)
    x, y = edge[inside].T
    assert np.abs(back[y, x].astype(int) - photo[y, x]).mean() < 6
    x, y = there.points.mean(axis=0).round().astype(int)
    assert np.abs(back[y, x].astype(int) - photo[y, x] * 0.6).max() < 12  # the middle keeps its own


def _outside(transform: np.ndarray, shape: tuple[int, ...], resolution: int) -> np.ndarray:
    down, across = np.mgrid[: shape[0], : shape[1]]
    at = moved(transform, np.stack([across, down], axis=-1).astype(float))
    return ((at < -0.5) | (at > resolution - 0.5)).any(axis=-1)
