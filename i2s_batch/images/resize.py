"""Fits an image of any size to the generator's square."""

from __future__ import annotations

import numpy as np
from PIL import Image, ImageOps

from i2s_batch.config import FITS
from i2s_batch.errors import ConfigError


def fit_image(pixels: np.ndarray, resolution: int, fit: str) -> np.ndarray:
    """Return `pixels` uint8 [H, W, 3] as uint8 [resolution, resolution, 3], by Lanczos resampling.

    `crop` takes the central square, `pad` puts the whole image on black, `stretch` ignores the
    aspect ratio. An image that already has the right size is returned as it is.
    """
    if pixels.ndim != 3 or pixels.shape[2] != 3 or pixels.dtype != np.uint8:
        raise ConfigError(f"an image is {pixels.dtype} {list(pixels.shape)}; it must be uint8 [H, W, 3]")
    if pixels.shape[:2] == (resolution, resolution):
        return pixels
    image = Image.fromarray(pixels)
    size = (resolution, resolution)
    if fit == "crop":
        fitted = ImageOps.fit(image, size, Image.Resampling.LANCZOS)
    elif fit == "pad":
        fitted = ImageOps.pad(image, size, Image.Resampling.LANCZOS, color=(0, 0, 0))
    elif fit == "stretch":
        fitted = image.resize(size, Image.Resampling.LANCZOS)
    else:
        raise ConfigError(f"fit is {fit!r}; it must be one of {', '.join(FITS)}")
    return np.asarray(fitted)


def used_box(width: int, height: int, fit: str) -> tuple[float, float, float, float]:
    """Return the part of an image that `fit_image` shows: left, top, right and bottom in pixels, halves included.

    All of it but with `crop`.
    """
    if fit != "crop":
        return 0.0, 0.0, float(width), float(height)
    side = min(width, height)
    left, top = (width - side) / 2, (height - side) / 2
    return left, top, left + side, top + side
