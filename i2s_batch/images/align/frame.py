"""Computes where FFHQ has a face: the transform that landmarks give, and how far an image is from it.

The geometry is the published one, of Progressive Growing of GANs (Karras et al. 2018, arXiv 1710.10196, appendix C),
which FFHQ kept: with the eyes e0, e1 and the mouth m (the middle of its corners),

    x' = e1 - e0,   y' = (e0 + e1) / 2 - m,   c = (e0 + e1) / 2 - 0.1 y',   s = max(4.0 |x'|, 3.6 |y'|)
    x = normalise(x' - rotate90(y')),   y = rotate90(x)

is a square with the centre c, the side s and the axes x and y.
"""

from __future__ import annotations

import numpy as np

from i2s_batch.errors import PictureError
from i2s_batch.images.align.landmarks import Landmarks
from i2s_batch.images.resize import used_box

_EYES, _MOUTH, _DOWN = 4.0, 3.6, 0.1
_LEAST_SIDE = 4  # pixels of the image: there is no face in less
_LARGEST = 10  # times the image: a mistake in the units of landmarks, not a face
# An image as FFHQ has it: the centre within this part of the side, the side within this factor, the angle in degrees.
_SHIFT, _FACTOR, _ANGLE = 0.08, 1.25, 8.0


def ffhq_square(points: Landmarks) -> tuple[np.ndarray, np.ndarray]:
    """Return the centre c of the square, [2], and the vector from it to the middle of its right side, s/2 x, [2].

    Raises:
        PictureError: Eyes and mouth are one point.
    """
    across = points.right_eye - points.left_eye
    eyes = (points.left_eye + points.right_eye) / 2
    down = points.mouth - eyes  # -y'
    direction = across + np.array([down[1], -down[0]])
    length = float(np.hypot(*direction))
    side = max(_EYES * float(np.hypot(*across)), _MOUTH * float(np.hypot(*down)))
    if length < 1e-6 * side or side == 0:
        raise PictureError("its eyes and mouth give no square: they are one point, or the mouth is above the eyes")
    return eyes + _DOWN * down, direction * (side / 2 / length)


def ffhq_transform(points: Landmarks, size: tuple[int, int], resolution: int) -> np.ndarray:
    """Return the transform from pixels of the image to those of the aligned one, float32 [6].

    Args:
        points: The landmarks of the face.
        size: Width and height of the image.
        resolution: The side of the aligned image, in pixels.

    Raises:
        PictureError: The landmarks give no square that has to do with the image.
    """
    centre, right = ffhq_square(points)
    half = float(np.hypot(*right))
    width, height = size
    is_beside = np.any(centre < -half) or np.any(centre > np.array([width, height]) + half)
    if not _LEAST_SIDE <= 2 * half <= _LARGEST * max(size) or is_beside:
        where = f"{2 * half:.3g} pixels wide around ({centre[0]:.3g}, {centre[1]:.3g})"
        raise PictureError(
            f"its landmarks give a square {where}, and it has {width} x {height} pixels; landmarks are pixels of the "
            "image as shown, after its EXIF orientation"
        )
    cos, sin = right / half
    scale = resolution / (2 * half)
    matrix = scale * np.array([[cos, sin], [-sin, cos]])
    offset = (resolution - 1) / 2 - matrix @ centre
    return np.array([*matrix[0], offset[0], *matrix[1], offset[1]], np.float32)


def is_aligned(points: Landmarks, size: tuple[int, int], fit: str) -> bool:
    """Return whether an image shows its face where FFHQ has it, once it is made square by `fit`."""
    left, top, right, bottom = used_box(*size, fit)
    shown, middle = max(right - left, bottom - top), np.array([left + right, top + bottom]) / 2 - 0.5
    try:
        centre, to_right = ffhq_square(points)
    except PictureError:
        return False
    side = 2 * float(np.hypot(*to_right))
    angle = abs(float(np.degrees(np.arctan2(to_right[1], to_right[0]))))
    near = float(np.hypot(*(centre - middle))) <= _SHIFT * shown
    return near and 1 / _FACTOR <= side / shown <= _FACTOR and angle <= _ANGLE


def as_matrix(transform: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return a transform, [6], as its matrix, float64 [2, 2], and its offset, [2]."""
    rows = np.asarray(transform, np.float64).reshape(2, 3)
    return rows[:, :2], rows[:, 2]


def rescaled(transform: np.ndarray, factor: float) -> np.ndarray:
    """Return the transform, [6], to the same aligned image with `factor` times its side."""
    matrix, offset = as_matrix(transform)
    offset = (offset + 0.5) * factor - 0.5  # the corner of the first pixel, not its centre, stays where it is
    return np.array([*(factor * matrix[0]), offset[0], *(factor * matrix[1]), offset[1]])


def moved(transform: np.ndarray, points: np.ndarray) -> np.ndarray:
    """Return points of the image, [..., 2], as points of the aligned image."""
    matrix, offset = as_matrix(transform)
    result: np.ndarray = points @ matrix.T + offset
    return result


def scale_of(transform: np.ndarray) -> float:
    """Return how many pixels of the aligned image one of the image is wide."""
    matrix, _ = as_matrix(transform)
    return float(np.sqrt(abs(np.linalg.det(matrix))))
