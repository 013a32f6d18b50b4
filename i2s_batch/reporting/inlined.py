"""Puts images into the page itself, as data URLs."""

from __future__ import annotations

import base64
import io

import numpy as np
from PIL import Image

SIDE = 192  # of an image in the report
LEAST_SIDE = 96  # smaller ones are enlarged without smoothing
JPEG_QUALITY = 85


def inlined_pixels(pixels: np.ndarray | None) -> str | None:
    """Return uint8 [R, R, 3] as a data url, at a size that suits the page; None for None."""
    if pixels is None:
        return None
    image = Image.fromarray(pixels)
    if image.width > SIDE:
        image = image.resize((SIDE, SIDE), Image.Resampling.BOX)
    elif image.width < LEAST_SIDE:
        factor = -(-LEAST_SIDE // image.width)
        image = image.resize((image.width * factor,) * 2, Image.Resampling.NEAREST)
    return inlined_image(image)


def inlined_image(image: Image.Image) -> str:
    """Return an image as a data url, as JPEG."""
    stream = io.BytesIO()
    image.save(stream, "JPEG", quality=JPEG_QUALITY, subsampling=0)
    return inlined("jpeg", stream.getvalue())


def inlined(file_type: str, data: bytes) -> str:
    """Return the bytes of an image file as a data URL; `file_type`: png, jpeg or another name after `image/`."""
    return f"data:image/{file_type};base64,{base64.b64encode(data).decode()}"
