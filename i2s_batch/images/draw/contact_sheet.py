"""Draws a contact sheet: every original beside its reconstruction."""

from __future__ import annotations

import io
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from PIL import Image, ImageDraw

from i2s_batch.images.draw.text import LINE_HEIGHT, draw_text

COLUMNS = 4
MARGIN = 12
CAPTION = 2 * LINE_HEIGHT + 4
LEAST_SIDE = 128  # a small generator's images are enlarged to this


@dataclass(frozen=True)
class SheetCell:
    """Holds an image and its reconstruction, uint8 [R, R, 3] or None, with a name and a note."""

    original: np.ndarray | None
    reconstruction: np.ndarray | None
    name: str
    note: str


def contact_sheet(cells: Sequence[SheetCell], title: str) -> bytes:
    """Draw the cells, original left and reconstruction right; return the sheet as a PNG."""
    shown = [p for cell in cells for p in (cell.original, cell.reconstruction) if p is not None]
    side = max([LEAST_SIDE, *(p.shape[0] for p in shown)])
    columns = min(COLUMNS, max(1, len(cells)))
    lines = -(-len(cells) // columns)
    cell_width, cell_height = 2 * side + 2 * MARGIN, side + CAPTION + MARGIN
    sheet = Image.new("RGB", (columns * cell_width + MARGIN, lines * cell_height + 3 * MARGIN), "white")
    draw = ImageDraw.Draw(sheet)
    draw_text(draw, (MARGIN, MARGIN // 2), title, "black", sheet.width - 2 * MARGIN)
    for index, cell in enumerate(cells):
        left = MARGIN + index % columns * cell_width
        top = 3 * MARGIN + index // columns * cell_height
        for x, pixels in ((left, cell.original), (left + side + 2, cell.reconstruction)):
            if pixels is None:
                draw.rectangle((x, top, x + side - 1, top + side - 1), fill="#eeeeee")
            else:
                sheet.paste(_enlarged(pixels, side), (x, top))
        for line, (text, colour) in enumerate(((cell.name, "black"), (cell.note, "#555555"))):
            draw_text(draw, (left, top + side + 2 + line * LINE_HEIGHT), text, colour, 2 * side)
    stream = io.BytesIO()
    sheet.save(stream, "PNG")
    return stream.getvalue()


def _enlarged(pixels: np.ndarray, side: int) -> Image.Image:
    return Image.fromarray(pixels).resize((side, side), Image.Resampling.NEAREST)
