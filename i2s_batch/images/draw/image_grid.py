"""A grid of images, each with a caption."""

from __future__ import annotations

import io
import math
from collections.abc import Sequence

import numpy as np
from PIL import Image, ImageDraw

from i2s_batch.images.draw.text import LINE_HEIGHT, draw_text

COLUMNS = 8  # at most
LEAST_SIDE = 128  # smaller images are enlarged to this, pixel by pixel
_GAP = 8
_CAPTION = LINE_HEIGHT


def image_grid(cells: Sequence[tuple[str, np.ndarray]], title: str) -> bytes:
    """Return a sheet of images, uint8 [R, R, 3] of one size, in rows, with their captions below them, as a PNG."""
    side = max([LEAST_SIDE, *(pixels.shape[0] for _, pixels in cells)])
    columns = min(COLUMNS, max(1, math.ceil(math.sqrt(len(cells)))))
    lines = math.ceil(len(cells) / columns)
    step_x, step_y = side + _GAP, side + _CAPTION + _GAP
    sheet = Image.new("RGB", (columns * step_x + _GAP, lines * step_y + _CAPTION + 2 * _GAP), "white")
    draw = ImageDraw.Draw(sheet)
    draw_text(draw, (_GAP, _GAP), title, "black", sheet.width - 2 * _GAP)
    for index, (caption, pixels) in enumerate(cells):
        left = _GAP + index % columns * step_x
        top = _CAPTION + 2 * _GAP + index // columns * step_y
        sheet.paste(Image.fromarray(pixels).resize((side, side), Image.Resampling.NEAREST), (left, top))
        draw_text(draw, (left, top + side + 2), caption, "#333333", side)
    stream = io.BytesIO()
    sheet.save(stream, "PNG")
    return stream.getvalue()
