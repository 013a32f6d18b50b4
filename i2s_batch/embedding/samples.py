"""Shows rows of the table: the original as it was embedded, and what the generator makes of the latent."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable
from dataclasses import dataclass

import numpy as np

from i2s_batch.errors import I2SError
from i2s_batch.images.align.shown import as_embedded
from i2s_batch.images.draw.contact_sheet import SheetCell
from i2s_batch.images.read.decoding import decode_image
from i2s_batch.inversion.synthesis import image_of
from i2s_batch.models import Generator
from i2s_batch.schema.columns import STATUS_OK
from i2s_batch.schema.row import Row
from i2s_batch.sources.image_bytes import read_bytes

FITTED_WITHOUT_GENERATOR = 256  # side of an original that stands alone


@dataclass(frozen=True)
class Sample:
    """Holds a row with its images, uint8 [R, R, 3]; None for one that is missing, and why the original is."""

    row: Row
    original: np.ndarray | None
    reconstruction: np.ndarray | None
    missing: str = ""

    @property
    def caption(self) -> str:
        """Return the caption of the row in a few words."""
        row = self.row
        return f"{row.metrics['psnr']:.1f} dB, loss {row.loss:.3f}" if row.status == STATUS_OK else row.status

    @property
    def cell(self) -> SheetCell:
        """Return the row as a cell of a contact sheet."""
        note = self.caption if not self.row.error else f"{self.caption}: {self.row.error}"
        return SheetCell(self.original, self.reconstruction, self.row.image_id, note)


def _unmoved(uri: str) -> str:
    return uri


def load_samples(
    rows: Iterable[Row], generator: Generator | None, fit: str, present_uri: Callable[[str], str] = _unmoved
) -> list[Sample]:
    """Return the images of `rows`, which have all columns; without a generator the originals alone.

    `present_uri` returns where an image is now, where its source has moved (`run.recorded.present_uris`).
    """
    return [_sample(row, generator, fit, present_uri(row.uri)) for row in rows]


def _sample(row: Row, generator: Generator | None, fit: str, uri: str) -> Sample:
    reconstruction = None
    if generator is not None and row.latent is not None:
        reconstruction = image_of(row.latent, generator)
    side = generator.resolution if generator is not None else FITTED_WITHOUT_GENERATOR
    try:
        data = read_bytes(uri)
        if row.sha256 and hashlib.sha256(data).hexdigest() != row.sha256:
            return Sample(row, None, reconstruction, "changed since")
        return Sample(row, as_embedded(decode_image(data), side, fit, row.landmarks, row.crop_box), reconstruction)
    except I2SError:  # the run is over: whatever has become of its images, the table is valid
        return Sample(row, None, reconstruction, "gone" if row.status == STATUS_OK else "not readable")
