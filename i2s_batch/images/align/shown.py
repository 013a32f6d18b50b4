"""Shows an image as it was embedded: aligned, or a box of it, or made square."""

from __future__ import annotations

import numpy as np

from i2s_batch.images.align.frame import ffhq_transform
from i2s_batch.images.align.landmarks import Landmarks
from i2s_batch.images.align.warp import aligned
from i2s_batch.images.resize import fit_image, used_box


def as_embedded(
    pixels: np.ndarray, side: int, fit: str, landmarks: np.ndarray | None = None, crop_box: np.ndarray | None = None
) -> np.ndarray:
    """Return an image, uint8 [H, W, 3], as its row says that it was embedded, uint8 [side, side, 3].

    Args:
        pixels: The image as shown.
        side: The side of the result, in pixels.
        fit: How the run made its images square.
        landmarks: Those of the row, flat; None of one that was not aligned.
        crop_box: That of the row; None if it has none.

    Raises:
        PictureError: The landmarks are not of this image.
    """
    height, width = pixels.shape[:2]
    if landmarks is not None:
        points = Landmarks(np.asarray(landmarks, np.float64).reshape(-1, 2))
        return aligned(pixels, ffhq_transform(points, (width, height), side), side)
    if crop_box is not None and tuple(crop_box.tolist()) != used_box(width, height, fit):
        left, top, right, bottom = map(int, crop_box)
        pixels = np.ascontiguousarray(pixels[top:bottom, left:right])
    return fit_image(pixels, side, fit)
