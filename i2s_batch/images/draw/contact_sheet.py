"""A contact sheet: every original beside its reconstruction."""

from __future__ import annotations

import io
from collections.abc import Sequence

import numpy as np
from PIL import Image, ImageDraw

from i2s_batch.embedding.samples import Sample

COLUMNS = 4
MARGIN = 12
CAPTION = 30
LEAST_SIDE = 128  # a small generator's pictures are enlarged to this


def contact_sheet(samples: Sequence[Sample], title: str) -> bytes:
    """Draw the samples, original left and reconstruction right; return the sheet as a PNG."""
    shown = [p for sample in samples for p in (sample.original, sample.reconstruction) if p is not None]
    side = max([LEAST_SIDE, *(p.shape[0] for p in shown)])
    columns = min(COLUMNS, max(1, len(samples)))
    lines = -(-len(samples) // columns)
    cell_width, cell_height = 2 * side + 2 * MARGIN, side + CAPTION + MARGIN
    sheet = Image.new("RGB", (columns * cell_width + MARGIN, lines * cell_height + 3 * MARGIN), "white")
    draw = ImageDraw.Draw(sheet)
    draw.text((MARGIN, MARGIN // 2), title, fill="black")
    for place, sample in enumerate(samples):
        left = MARGIN + place % columns * cell_width
        top = 3 * MARGIN + place // columns * cell_height
        for x, picture in ((left, sample.original), (left + side + 2, sample.reconstruction)):
            if picture is None:
                draw.rectangle((x, top, x + side - 1, top + side - 1), fill="#eeeeee")
            else:
                sheet.paste(_enlarged(picture, side), (x, top))
        width = 2 * side // 6  # characters of the default font that fit
        draw.text((left, top + side + 2), sample.row["image_id"][:width], fill="black")
        note = sample.caption if not sample.row["error"] else f"{sample.caption}: {sample.row['error']}"
        draw.text((left, top + side + 14), note[:width], fill="#555555")
    stream = io.BytesIO()
    sheet.save(stream, "PNG")
    return stream.getvalue()


def _enlarged(picture: np.ndarray, side: int) -> Image.Image:
    return Image.fromarray(picture).resize((side, side), Image.Resampling.NEAREST)
