"""Pastes an aligned face back into its photograph: a feathered border, and edges whose colours match."""

from __future__ import annotations

import numpy as np
from PIL import Image

from i2s_batch.images.align.frame import as_matrix
from i2s_batch.images.align.warp import aligned, corners_of, inverse_of, resampled

_BORDER = 0.12  # of the side, over which the face fades in
_MATCHED = 0.25  # of the side, over which its colours pass from the photograph's to its own
_SMOOTH = 0.04  # of the side: what is smaller is detail, not colour
_BAND_PIXELS = 1 << 22


def pasted(photograph: np.ndarray, face: np.ndarray, transform: np.ndarray) -> np.ndarray:
    """Return the photograph with the face in its place, uint8 [H, W, 3].

    Outside the square that the transform shows, the result equals the photograph bit by bit.

    Args:
        photograph: uint8 [H, W, 3], as shown.
        face: The image of the generator, uint8 [R, R, 3].
        transform: Pixels of the photograph to pixels of the face, [6].
    """
    resolution = face.shape[0]
    matched = _matched(face, aligned(photograph, transform, resolution))
    result = photograph.copy()
    corners = corners_of(transform, resolution)
    height, width = photograph.shape[:2]
    left, top = np.clip(np.floor(corners.min(axis=0)), 0, (width, height)).astype(int)
    right, bottom = np.clip(np.ceil(corners.max(axis=0)) + 1, 0, (width, height)).astype(int)
    if right <= left or bottom <= top:
        return result
    rows = max(1, _BAND_PIXELS // int(right - left))
    for start in range(int(top), int(bottom), rows):
        box = (int(left), start, int(right), min(start + rows, int(bottom)))
        opacity = _opacity(transform, box, resolution)[..., None]
        there = result[box[1] : box[3], box[0] : box[2]]
        mixed = there + opacity * (resampled(matched, inverse_of(transform), box).astype(np.float32) - there)
        np.copyto(there, np.rint(mixed).astype(np.uint8), where=opacity > 0)
    return result


def _matched(face: np.ndarray, original: np.ndarray) -> np.ndarray:
    """Return the face with the colours of `original`, both uint8 [R, R, 3], at its border, and its own in the middle.

    The difference of the two along the border, without detail, is carried inwards and fades away.
    """
    side = face.shape[0]
    steps = (np.arange(side, dtype=np.float32) + 0.5) / side
    edge = np.minimum(np.minimum(steps, 1 - steps)[None, :], np.minimum(steps, 1 - steps)[:, None])
    weight = 1 - _smooth(edge / _MATCHED)
    difference = original.astype(np.float32) - face
    total = _blurred(weight, side) + 1e-6
    shift = np.stack([_blurred(weight * difference[..., band], side) / total for band in range(3)], axis=-1)
    result: np.ndarray = np.rint(np.clip(face + weight[..., None] * shift, 0, 255)).astype(np.uint8)
    return result


def _blurred(values: np.ndarray, side: int) -> np.ndarray:
    """Return values, float32 [R, R], without detail: made small and large again, as Pillow blurs no floats."""
    image = Image.fromarray(values.astype(np.float32))
    small = round(1 / _SMOOTH)
    few = image.resize((small, small), Image.Resampling.BOX)
    return np.asarray(few.resize((side, side), Image.Resampling.BICUBIC))


def _opacity(transform: np.ndarray, box: tuple[int, int, int, int], resolution: int) -> np.ndarray:
    """Return how much of the face each pixel of a box of the photograph shows, float32, 0 outside the square."""
    matrix, offset = as_matrix(transform)
    across = np.arange(box[0], box[2], dtype=np.float64)[None, :]
    down = np.arange(box[1], box[3], dtype=np.float64)[:, None]
    edge: np.ndarray | None = None
    for axis in range(2):
        at = (matrix[axis, 0] * across + matrix[axis, 1] * down + offset[axis] + 0.5) / resolution
        nearer = np.minimum(at, 1 - at)
        edge = nearer if edge is None else np.minimum(edge, nearer)
    assert edge is not None
    return _smooth(edge / _BORDER).astype(np.float32)


def _smooth(part: np.ndarray) -> np.ndarray:
    """Return 0 below 0, 1 above 1, and a curve without a corner between."""
    limited = np.clip(part, 0, 1)
    curve: np.ndarray = limited * limited * (3 - 2 * limited)
    return curve
