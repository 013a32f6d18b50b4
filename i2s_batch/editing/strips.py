"""Shows edited images beside those they were made from: strips for the report and the contact sheet."""

from __future__ import annotations

import hashlib
import io
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from typing import TypeVar

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from PIL import Image, ImageDraw

from i2s_batch.editing import EDITS
from i2s_batch.editing.originals import Originals
from i2s_batch.editing.planned_images import FILE, file_of, recipe_of
from i2s_batch.errors import I2SError, LatentError
from i2s_batch.images.draw.text import LINE_HEIGHT, draw_text
from i2s_batch.images.read.decoding import decode_image
from i2s_batch.inversion.synthesis import image_of
from i2s_batch.models import Generator
from i2s_batch.output.archives.reading import RunImages
from i2s_batch.output.layout import RunLayout
from i2s_batch.output.ownership import check_additions
from i2s_batch.run.recorded import recorded_tables
from i2s_batch.schema.row import Row
from i2s_batch.storage import open_store
from i2s_batch.table.latent_reader import LatentIndex, LatentReader
from i2s_batch.table.shards import rows_of_ids, table_of
from i2s_batch.table.snapshot import open_snapshot

Item = TypeVar("Item")

STRIPS = 8  # sequences, or single images, that are shown
FRAMES = 8  # of each sequence, spread evenly
SIDE = 128
MARGIN = 10
CAPTION = LINE_HEIGHT + 2


@dataclass(frozen=True)
class Strip:
    """Holds a sequence, or one image, and its parents; all are uint8 [R, R, 3], None for one that is not available.

    Attributes:
        before: The images of the parents.
        after: The edited images.
        parents: The ids of the parents.
        role: What `before` shows of them: parent, the image of its latent, or photograph, which it was embedded from.
        files: The keys of the edited images below OUT.
    """

    name: str
    caption: str
    before: list[np.ndarray | None]
    after: list[np.ndarray | None]
    parents: tuple[str, ...] = ()
    files: tuple[str, ...] = ()
    role: str = "parent"

    @property
    def alt(self) -> str:
        """Return a description in words."""
        before = f"{len(self.before)} before, " if self.before else ""
        return f"{self.caption}: {before}{len(self.after)} after"


def load_strips(out: str, network: Callable[[], Generator]) -> list[Strip]:
    """Return some of the edits at `out`, spread evenly over the run.

    Edited images are read from their files. Parents have none: `network` renders them from the tables that the run
    names (if those are gone, they are missing), and renders again an edited image whose file has changed. It is called
    only when something is to be rendered.
    """
    snapshot = open_snapshot(out, quiet=True)
    table = table_of(snapshot, ["image_id", "sequence", "frame"])
    group = pc.coalesce(table["sequence"], table["image_id"])
    names = _spread(pc.unique(group).to_pylist(), STRIPS)
    chosen = table.append_column("group", group).filter(pc.is_in(group, pa.array(names, pa.string())))
    groups: dict[str, list[tuple[int, str]]] = {name: [] for name in names}
    for name, frame, image_id in zip(*(chosen[c].to_pylist() for c in ("group", "frame", "image_id")), strict=True):
        groups[name].append((frame or 0, image_id))  # only the shown names: a run may have a million rows
    shown = {name: [image_id for _, image_id in _spread(sorted(groups[name]), FRAMES)] for name in names}
    rows = {row.image_id: row for row in rows_of_ids(snapshot, [id for ids in shown.values() for id in ids])}
    results, parents = _Results(out, network), _Parents(out, network)
    strips = []
    for name, ids in shown.items():
        first, last = (recipe_of(rows[image_id].extra) for image_id in (ids[0], ids[-1]))
        before = list(dict.fromkeys((*first.parents, *last.parents)))
        caption = f"{first.operation} of {', '.join(before)}" if before else f"{first.operation} {name}"
        after = [results.image(rows[image_id]) for image_id in ids]
        files = tuple(results.key(rows[image_id]) for image_id in ids)
        role = "photograph" if reproduces(first.operation) else "parent"
        images = [] if reproduces(first.operation) else [parents.image(one) for one in before]
        if reproduces(first.operation):
            photograph = parents.photograph(before[0], after[0])
            caption = caption if photograph is None else f"{before[0]} | reconstruction"
            before, images = ([], []) if photograph is None else (before[:1], [photograph])
        strips.append(Strip(name, caption, images, after, tuple(before), files, role))
    return strips


def reproduces(operation: str) -> bool:
    """Return whether an edit shows latents as they are; what another program registered may not be known here."""
    return operation in EDITS and EDITS.get(operation).resolve().options.reproduces


class _Results:
    """Reads the images that an edit has made."""

    def __init__(self, out: str, network: Callable[[], Generator]) -> None:
        self._images, self._network = RunImages.of(open_store(out)), network

    def key(self, row: Row) -> str:
        """Return the key of the image file of a row."""
        return file_of(row.extra.get(FILE), row.image_id, row.uri)

    def image(self, row: Row) -> np.ndarray | None:
        """Return the image of a row, rendered again if its file is gone or has changed; None if the row is not ok."""
        if row.latent is None:
            return None
        with suppress(I2SError):
            data = self._images.get(self.key(row))
            if hashlib.sha256(data).hexdigest() == row.sha256:
                return decode_image(data)
        return image_of(row.latent, self._network())


class _Parents:
    """Renders the latents of parents, each once."""

    def __init__(self, out: str, network: Callable[[], Generator]) -> None:
        self._network = network
        self._index: LatentIndex | None = None
        self._images: dict[str, np.ndarray | None] = {}
        self._originals: Originals | None = None
        try:
            self._tables = recorded_tables(out)
            if self._tables:
                self._index = LatentIndex(self._tables, first_wins=True)
                self._reader = LatentReader(self._tables)
        except I2SError:  # whatever has become of the tables, the edits are valid
            self._index = None

    def photograph(self, image_id: str, reconstruction: np.ndarray | None) -> np.ndarray | None:
        """Return what the latent of a parent was embedded from, in the size of its image; None if it is not there."""
        if self._index is None or reconstruction is None:
            return None
        self._originals = self._originals or Originals(self._tables)
        original = self._originals.find(image_id)
        return None if original is None else original.read(reconstruction.shape[0])

    def image(self, image_id: str) -> np.ndarray | None:
        """Return the image of a parent; None if its latent is not available."""
        if image_id not in self._images:
            self._images[image_id] = self._draw(image_id)
        return self._images[image_id]

    def _draw(self, image_id: str) -> np.ndarray | None:
        if self._index is None:
            return None
        try:
            latent = self._reader.read(image_id, self._index.location(image_id))
        except LatentError:
            return None
        return image_of(latent, self._network())


def _spread(items: list[Item], count: int) -> list[Item]:
    """Return at most `count` of the items, the first and the last among them."""
    if len(items) <= count:
        return items
    return [items[round(i * (len(items) - 1) / (count - 1))] for i in range(count)]


def strip_image(strip: Strip, side: int = SIDE) -> Image.Image:
    """Return the strip as one picture: the parents, a gap, the edited images."""
    gap = side // 4
    width = (len(strip.before) + len(strip.after)) * (side + 2) + gap
    image = Image.new("RGB", (width, side), "white")
    x = 0
    for images in (strip.before, strip.after):
        for pixels in images:
            if pixels is None:
                ImageDraw.Draw(image).rectangle((x, 0, x + side - 1, side - 1), fill="#dddddd")
            else:
                enlarge = pixels.shape[0] <= side
                how = Image.Resampling.NEAREST if enlarge else Image.Resampling.BOX
                image.paste(Image.fromarray(pixels).resize((side, side), how), (x, 0))
            x += side + 2
        x += gap
    return image


def write_edit_sheet(out: str, strips: list[Strip]) -> str:
    """Draw OUT/contact-sheet.png, some of the edits at `out`, before and after, and return its path or URL."""
    store = open_store(out)
    check_additions(store, [RunLayout.contact_sheet])
    store.put(RunLayout.contact_sheet, strip_sheet(strips))
    return store.uri(RunLayout.contact_sheet)


def strip_sheet(strips: list[Strip]) -> bytes:
    """Return a sheet of strips, each with its caption, as a PNG."""
    images = [strip_image(strip) for strip in strips]
    width = max(image.width for image in images) + 2 * MARGIN
    sheet = Image.new("RGB", (width, len(images) * (SIDE + CAPTION + MARGIN) + MARGIN), "white")
    draw = ImageDraw.Draw(sheet)
    for row, (strip, image) in enumerate(zip(strips, images, strict=True)):
        top = MARGIN + row * (SIDE + CAPTION + MARGIN)
        sheet.paste(image, (MARGIN, top))
        draw_text(draw, (MARGIN, top + SIDE + 2), strip.caption, "#333333", width - 2 * MARGIN)
    stream = io.BytesIO()
    sheet.save(stream, "PNG")
    return stream.getvalue()
