"""Puts images into the page itself, as data URLs."""

from __future__ import annotations

import base64
import io

from PIL import Image

JPEG_QUALITY = 90


def encoded_jpeg(image: Image.Image) -> bytes:
    """Return an image as a JPEG file, with its colours in full resolution."""
    stream = io.BytesIO()
    image.save(stream, "JPEG", quality=JPEG_QUALITY, subsampling=0)
    return stream.getvalue()


def inlined(file_type: str, data: bytes) -> str:
    """Return the bytes of an image file as a data URL; `file_type`: png, jpeg or another name after `image/`."""
    return f"data:image/{file_type};base64,{base64.b64encode(data).decode()}"
