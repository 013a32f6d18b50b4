"""Resamples images by a transform: without aliasing, and with what lies outside the image reflected and blurred."""

from __future__ import annotations

import numpy as np
from PIL import Image, ImageFilter

from i2s_batch.images.align.frame import as_matrix, moved, scale_of

_RING = 4  # pixels around a resampled piece: what a bicubic filter reaches, and one more
_FEWEST = 0.5  # pixels of the result per pixel of the source below which the source is made smaller first
# How far from the image, as parts of the side, it is blurred fully, and is all of one colour; the blur's radius.
_BLURRED, _FLAT, _BLUR = 0.06, 0.6, 0.02


def aligned(pixels: np.ndarray, transform: np.ndarray, resolution: int) -> np.ndarray:
    """Return the part of `pixels`, uint8 [H, W, 3], that a transform shows, as uint8 [resolution, resolution, 3].

    What lies outside the image is its reflection, more blurred and nearer to the image's median colour with the
    distance. No pixel of the image itself is blurred. The result is a function of `pixels` and `transform` alone.
    """
    square = resampled(pixels, transform, (0, 0, resolution, resolution))
    outside = _outside(transform, (pixels.shape[1], pixels.shape[0]), resolution)
    return square if outside is None else _softened(square, outside / resolution)


def resampled(pixels: np.ndarray, transform: np.ndarray, box: tuple[int, int, int, int]) -> np.ndarray:
    """Return the pixels (left, top, right, bottom) of the result of a transform, uint8 [bottom - top, right - left, 3].

    Where the result is smaller, it is resampled at twice its size and reduced; where it is less than half as large,
    the source is reduced first. Both by Lanczos, the transform itself is bicubic.
    """
    matrix, offset = as_matrix(transform)
    scale = scale_of(transform)
    inverse = np.linalg.inv(matrix)
    corners = np.array([[x, y] for x in (box[0], box[2]) for y in (box[1], box[3])]) - 0.5
    there = (corners - offset) @ inverse.T + 0.5  # from here on the first pixel is [0, 1): its centre is at 0.5
    source, start, shrink = _piece(pixels, there.min(axis=0), there.max(axis=0), scale)
    times = 1 if scale >= 1 else 2
    size = (times * (box[2] - box[0]), times * (box[3] - box[1]))
    # The point t of the result, of `times` its size, shows ((inverse (t / times + box - 0.5 - offset)) + 0.5 - start)
    # times `shrink` of the piece.
    linear = shrink[:, None] * inverse / times
    constant = shrink * (inverse @ (np.array(box[:2]) - 0.5 - offset) + 0.5 - start)
    data = (*linear[0], constant[0], *linear[1], constant[1])
    image = Image.fromarray(source).transform(size, Image.Transform.AFFINE, data, Image.Resampling.BICUBIC)
    if times > 1:
        image = image.resize((size[0] // times, size[1] // times), Image.Resampling.LANCZOS)
    return np.asarray(image)


def _piece(
    pixels: np.ndarray, low: np.ndarray, high: np.ndarray, scale: float
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return the piece of an image that holds the points from `low` to `high`, reflected where it ends.

    Returns:
        The piece, reduced if it has more than twice the pixels that are needed; the point of the image at its first
        corner, [2]; and its pixels per pixel of the image across and down, [2].
    """
    size = np.array([pixels.shape[1], pixels.shape[0]])
    ring = _RING / min(1.0, 2 * scale)
    first = np.clip(np.floor(low - ring), 0, size - 1).astype(int)
    last = np.clip(np.ceil(high + ring), first + 1, size).astype(int)
    piece = pixels[first[1] : last[1], first[0] : last[0]]
    shrink = np.ones(2)
    if scale < _FEWEST:
        small = np.maximum(1, np.ceil((last - first) * scale / _FEWEST)).astype(int)
        shrink = small / (last - first)
        image = Image.fromarray(np.ascontiguousarray(piece))
        piece = np.asarray(image.resize((int(small[0]), int(small[1])), Image.Resampling.LANCZOS))
    before = np.maximum(0, np.ceil((first - (low - ring)) * shrink)).astype(int)
    after = np.maximum(0, np.ceil(((high + ring) - last) * shrink)).astype(int)
    if before.any() or after.any():
        piece = np.pad(piece, ((before[1], after[1]), (before[0], after[0]), (0, 0)), "symmetric")
    return np.ascontiguousarray(piece), first - before / shrink, shrink


def _outside(transform: np.ndarray, size: tuple[int, int], resolution: int) -> np.ndarray | None:
    """Return how far each pixel of the aligned image is outside the image, float32 [R, R], in its own pixels.

    None if none is.
    """
    matrix, offset = as_matrix(transform)
    inverse = np.linalg.inv(matrix)
    ends = np.array([0.0, resolution - 1.0])
    corners = (np.array([[x, y] for x in ends for y in ends]) - offset) @ inverse.T
    limits = np.array(size) - 1
    if np.all(corners >= 0) and np.all(corners <= limits):
        return None
    steps = np.arange(resolution, dtype=np.float32)
    distance = np.zeros((resolution, resolution), np.float32)
    for axis in range(2):
        along = inverse[axis, 0] * (steps - offset[0])[None, :] + inverse[axis, 1] * (steps - offset[1])[:, None]
        np.maximum(distance, np.maximum(-along, along - limits[axis]), out=distance, casting="same_kind")
    distance *= scale_of(transform)
    return distance if distance.any() else None


def _softened(square: np.ndarray, outside: np.ndarray) -> np.ndarray:
    """Return the aligned image with what is `outside`, float32 [R, R] in parts of its side, blurred and flattened."""
    radius = _BLUR * square.shape[0]
    blurred = np.asarray(Image.fromarray(square).filter(ImageFilter.GaussianBlur(radius)), np.float32)
    median = np.median(square.reshape(-1, 3), axis=0).astype(np.float32)
    blur = np.clip(outside / _BLURRED, 0, 1)[..., None]
    flat = np.clip(outside / _FLAT, 0, 1)[..., None]
    mixed = square + blur * (blurred - square)
    mixed += flat * (median - mixed)
    soft: np.ndarray = np.where(outside[..., None] > 0, np.rint(mixed), square).astype(np.uint8)
    return soft


def inverse_of(transform: np.ndarray) -> np.ndarray:
    """Return the transform that takes the aligned image back, float64 [6]."""
    matrix, offset = as_matrix(transform)
    inverse = np.linalg.inv(matrix)
    back = -inverse @ offset
    return np.array([*inverse[0], back[0], *inverse[1], back[1]])


def corners_of(transform: np.ndarray, resolution: int) -> np.ndarray:
    """Return the corners of the aligned image as points of the image, float64 [4, 2], clockwise from the first."""
    far = resolution - 0.5
    return moved(inverse_of(transform), np.array([[-0.5, -0.5], [far, -0.5], [far, far], [-0.5, far]]))
