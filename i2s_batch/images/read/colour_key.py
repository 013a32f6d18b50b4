"""The transparent colour of a PNG whose samples Pillow does not show as they are written.

Of 16-bit colour Pillow keeps the high byte of each sample, and of grey below 8 bits the sample scaled to 8; the
transparent colour is written in samples of the file.
"""

from __future__ import annotations

import io
from dataclasses import dataclass

import numpy as np
from PIL import Image

_LOW_GREY = {"L;2": 85, "L;4": 17}  # shades a step
_HIGH_BYTES, _LOW_BYTES = "RGB;16B", "RGB;16L"  # the low bytes are what Pillow takes for the high ones of little-endian


@dataclass(frozen=True)
class ColourKey:
    """Holds the transparent colour of a PNG of 16-bit colour."""

    samples: tuple[int, int, int]

    def whiten(self, pixels: np.ndarray, image: Image.Image, data: bytes) -> None:
        """Make those of `pixels`, uint8 [H, W, 3], white that are transparent in the loaded `image` of `data`."""
        low = Image.open(io.BytesIO(data), formats=("PNG",))
        low.tile = [tile._replace(args=_LOW_BYTES) for tile in low.tile]
        low.load()
        key = np.array(self.samples)
        for row in range(image.height):
            box = (0, row, image.width, row + 1)
            high_bytes, low_bytes = (np.asarray(one.crop(box)) for one in (image, low))
            pixels[row][((high_bytes == key >> 8) & (low_bytes == key & 255))[0].all(-1)] = 255


def take(image: Image.Image) -> ColourKey | None:
    """Return the colour key of an opened image of 16-bit colour, and take it away; scale the one of low grey."""
    key = image.info.get("transparency")
    if image.format != "PNG" or key is None or not image.tile:  # type: ignore[attr-defined]
        return None
    layout = image.tile[0].args  # type: ignore[attr-defined]
    if layout in _LOW_GREY and isinstance(key, int):
        image.info["transparency"] = key * _LOW_GREY[layout]
    if layout != _HIGH_BYTES or not isinstance(key, tuple):
        return None
    del image.info["transparency"]
    return ColourKey(key)
