"""A contact sheet: every original beside its reconstruction, rendered from the table alone."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from PIL import Image, ImageDraw

from i2s_batch.errors import PictureError
from i2s_batch.inversion.fit import fit_picture
from i2s_batch.inversion.metrics import to_uint8
from i2s_batch.models import Generator
from i2s_batch.records import STATUS_OK
from i2s_batch.storage.pictures import decode_picture
from i2s_batch.storage.read import read_table
from i2s_batch.storage.sources import read_bytes

COLUMNS = 4
MARGIN = 12
CAPTION = 30
LEAST_SIDE = 128  # a small generator's pictures are enlarged to this


@dataclass(frozen=True)
class Pair:
    """An original and its reconstruction, uint8 [R, R, 3]; None for what there is not."""

    caption: str
    note: str
    original: np.ndarray | None
    reconstruction: np.ndarray | None


def pairs_of(out: str, generator: Generator, fit: str, limit: int = 64) -> list[Pair]:
    """The first `limit` rows of the table at `out`, re-rendered from their latents."""
    rows = read_table(out).slice(0, limit).to_pylist()
    return [_pair(row, generator, fit) for row in rows]


def _pair(row: dict, generator: Generator, fit: str) -> Pair:
    try:
        original = fit_picture(decode_picture(read_bytes(row["uri"])), generator.resolution, fit)
    except PictureError:
        original = None
    if row["status"] != STATUS_OK:
        return Pair(row["image_id"], f"{row['status']}: {row['error']}", original, None)
    shape = (1, generator.num_layers, generator.w_dim)
    latent = torch.tensor(row["latent"]).reshape(shape).to(generator.w_avg)
    with torch.no_grad():
        picture = to_uint8(generator.synthesize(latent)[0])
    return Pair(row["image_id"], f"{row['psnr']:.1f} dB, loss {row['loss']:.3f}", original, picture)


def write_contact_sheet(pairs: Sequence[Pair], path: Path, title: str) -> None:
    """Draw the pairs, original left and reconstruction right, into a PNG."""
    shown = [p for pair in pairs for p in (pair.original, pair.reconstruction) if p is not None]
    side = max([LEAST_SIDE, *(p.shape[0] for p in shown)])
    columns = min(COLUMNS, max(1, len(pairs)))
    lines = -(-len(pairs) // columns)
    cell_width, cell_height = 2 * side + 2 * MARGIN, side + CAPTION + MARGIN
    sheet = Image.new("RGB", (columns * cell_width + MARGIN, lines * cell_height + 3 * MARGIN), "white")
    draw = ImageDraw.Draw(sheet)
    draw.text((MARGIN, MARGIN // 2), title, fill="black")
    for place, pair in enumerate(pairs):
        left = MARGIN + place % columns * cell_width
        top = 3 * MARGIN + place // columns * cell_height
        for x, picture in ((left, pair.original), (left + side + 2, pair.reconstruction)):
            if picture is None:
                draw.rectangle((x, top, x + side - 1, top + side - 1), fill="#eeeeee")
            else:
                sheet.paste(_enlarged(picture, side), (x, top))
        width = 2 * side // 6  # characters of the default font that fit
        draw.text((left, top + side + 2), pair.caption[:width], fill="black")
        draw.text((left, top + side + 14), pair.note[:width], fill="#555555")
    sheet.save(path)


def _enlarged(picture: np.ndarray, side: int) -> Image.Image:
    return Image.fromarray(picture).resize((side, side), Image.Resampling.NEAREST)
