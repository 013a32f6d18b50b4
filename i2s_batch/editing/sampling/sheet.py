"""The contact sheet of samples."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
from PIL import Image

from i2s_batch.images.draw.image_grid import image_grid
from i2s_batch.images.read.decoding import decode_image

SHEET_IMAGES = 64  # at most, spread evenly over the seeds
SHEET_SIDE = 256  # of an image on the sheet, at most, in pixels


def sample_sheet(files: Iterable[tuple[int, bytes]], title: str) -> bytes:
    """Return the contact sheet of image files, each with its seed, as a PNG. One file at a time is decoded."""
    cells = [(f"seed {seed}", _reduced(decode_image(data))) for seed, data in files]
    return image_grid(cells, title)


def _reduced(pixels: np.ndarray) -> np.ndarray:
    if pixels.shape[0] <= SHEET_SIDE:
        return pixels
    return np.asarray(Image.fromarray(pixels).resize((SHEET_SIDE, SHEET_SIDE), Image.Resampling.BOX))
