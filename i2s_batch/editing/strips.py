"""Edited pictures beside what they were made from: strips for the report and the contact sheet."""

from __future__ import annotations

import io
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import torch
from PIL import Image, ImageDraw

from i2s_batch.errors import I2SError, LatentError
from i2s_batch.inversion.metrics import to_uint8
from i2s_batch.models import Generator, GeneratorWeights, build_generator
from i2s_batch.output.layout import RunLayout
from i2s_batch.output.ownership import check_additions
from i2s_batch.run.recorded import recorded_tables
from i2s_batch.schema.columns import STATUS_OK
from i2s_batch.storage import open_store
from i2s_batch.table.latent_reader import LatentIndex, LatentReader
from i2s_batch.table.shards import read_rows, read_table

STRIPS = 8  # sequences, or single pictures, that are shown
FRAMES = 8  # of each sequence, spread evenly
SIDE = 128
MARGIN = 10
CAPTION = 16


@dataclass(frozen=True)
class Strip:
    """A sequence, or one picture: `before` are the pictures of its parents, `after` what was made, all
    uint8 [R, R, 3]; None for one that is not to be had."""

    name: str
    caption: str
    before: list[np.ndarray | None]
    after: list[np.ndarray | None]

    @property
    def alt(self) -> str:
        """In words."""
        return f"{self.caption}: {len(self.before)} before, {len(self.after)} after"


def load_strips(out: str, generator: Generator) -> list[Strip]:
    """Some of the edits at `out`, spread evenly over the run. Parents are drawn from the tables that the run names;
    if those are gone, they are missing."""
    table = read_table(out, ["image_id", "status", "operation", "parents", "sequence", "frame"])
    group = pc.coalesce(table["sequence"], table["image_id"])
    names = _spread(pc.unique(group).to_pylist(), STRIPS)
    groups: dict[str, list[dict[str, Any]]] = {name: [] for name in names}
    for row in table.filter(pc.is_in(group, pa.array(names, pa.string()))).to_pylist():  # of a million, some
        groups[row["sequence"] or row["image_id"]].append(row)
    shown = {name: _spread(sorted(groups[name], key=lambda row: row["frame"] or 0), FRAMES) for name in names}
    latents = {row.image_id: row.latent for row in read_rows(out, [r["image_id"] for n in names for r in shown[n]])}
    parents = _Parents(out, generator)
    strips = []
    for name, frames in shown.items():
        before = list(dict.fromkeys(parent for frame in (frames[0], frames[-1]) for parent in frame["parents"]))
        caption = f"{frames[0]['operation']} of {', '.join(before)}"
        after = [None if row["status"] != STATUS_OK else _drawn(latents[row["image_id"]], generator) for row in frames]
        strips.append(Strip(name, caption, [parents.picture(image_id) for image_id in before], after))
    return strips


class _Parents:
    """Draws the codes of parents."""

    def __init__(self, out: str, generator: Generator) -> None:
        self._generator = generator
        self._index: LatentIndex | None = None
        try:
            tables = recorded_tables(out)
            if tables:
                self._index, self._reader = LatentIndex(tables), LatentReader(tables)
        except I2SError:  # whatever has become of the tables, the edits stand
            self._index = None

    def picture(self, image_id: str) -> np.ndarray | None:
        if self._index is None:
            return None
        try:
            return _drawn(self._reader.read(image_id, self._index.location(image_id)), self._generator)
        except LatentError:
            return None


def _spread(items: list[Any], count: int) -> list[Any]:
    """At most `count` of the items, the first and the last among them."""
    if len(items) <= count:
        return items
    return [items[round(i * (len(items) - 1) / (count - 1))] for i in range(count)]


def _drawn(latent: Any, generator: Generator) -> np.ndarray:
    codes = torch.tensor(latent).reshape(1, generator.num_layers, generator.w_dim).to(generator.w_avg)
    with torch.no_grad():
        return to_uint8(generator.synthesize(codes)[0])


def strip_image(strip: Strip, side: int = SIDE) -> Image.Image:
    """The strip as one picture: what there was, a gap, what was made."""
    gap = side // 4
    width = (len(strip.before) + len(strip.after)) * (side + 2) + gap
    image = Image.new("RGB", (width, side), "white")
    x = 0
    for pictures in (strip.before, strip.after):
        for pixels in pictures:
            if pixels is None:
                ImageDraw.Draw(image).rectangle((x, 0, x + side - 1, side - 1), fill="#dddddd")
            else:
                enlarge = pixels.shape[0] <= side
                how = Image.Resampling.NEAREST if enlarge else Image.Resampling.BOX
                image.paste(Image.fromarray(pixels).resize((side, side), how), (x, 0))
            x += side + 2
        x += gap
    return image


def write_edit_sheet(out: str, weights: GeneratorWeights) -> str:
    """Draw OUT/contact-sheet.png: some of the edits at `out`, before and after; its path or s3 url."""
    store = open_store(out)
    check_additions(store, [RunLayout.contact_sheet])
    strips = load_strips(out, build_generator(weights))
    images = [strip_image(strip) for strip in strips]
    width = max(image.width for image in images) + 2 * MARGIN
    sheet = Image.new("RGB", (width, len(images) * (SIDE + CAPTION + MARGIN) + MARGIN), "white")
    draw = ImageDraw.Draw(sheet)
    for place, (strip, image) in enumerate(zip(strips, images, strict=True)):
        top = MARGIN + place * (SIDE + CAPTION + MARGIN)
        sheet.paste(image, (MARGIN, top))
        draw.text((MARGIN, top + SIDE + 2), strip.caption[: width // 6], fill="#333333")
    stream = io.BytesIO()
    sheet.save(stream, "PNG")
    store.put(RunLayout.contact_sheet, stream.getvalue())
    return store.uri(RunLayout.contact_sheet)
