"""Checks a row of an edit: its stored image against the image that the generator makes of its latent."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from i2s_batch.errors import I2SError, ObjectNotFoundError, PictureError, StorageError
from i2s_batch.images.read.decoding import decode_image, encode_image
from i2s_batch.inversion.synthesis import image_of
from i2s_batch.maintenance.verification.embedded_rows import Rerendered
from i2s_batch.models import Generator
from i2s_batch.output.archives.reading import RunImages
from i2s_batch.output.layout import RunLayout
from i2s_batch.schema.row import Row
from i2s_batch.storage import Store

# Levels of 255, root mean square: differences that another machine or batch may make by rounding.
LEVELS = {"fp32": 0.5, "fp64": 0.5, "tf32": 2.0, "bf16": 4.0}
# Added to that for lossy formats: the stored image is compared with the latent's image in the same format, which turns
# rounding into coarser steps. With one value in fifty off by a level the demo's images differed by 0.9 (JPEG) and 1.5
# (WebP); two neighbouring frames of a morph of 60 differ by 2.0 and 2.4.
LOSSY_LEVELS = {"png": 0.0, "jpeg": 1.0, "webp": 1.5}


@dataclass(frozen=True)
class EditedImages:
    """Renders the images of an output of `edit` or `render` again.

    Attributes:
        store: The output.
        images: Reads its images.
        generator: The generator of the run.
        picture_format: The run's file format.
        precision: The run's precision.
        noise: Gives the noise maps that an image was drawn with; None for the stored noise.
    """

    store: Store
    images: RunImages
    generator: Generator
    picture_format: str
    precision: str
    noise: Callable[[Row], np.ndarray] | None = None

    @property
    def tolerance(self) -> float:
        """Return the largest accepted difference, in levels of 255, root mean square."""
        return LEVELS[self.precision] + LOSSY_LEVELS[self.picture_format]

    @property
    def within(self) -> str:
        """Return the tolerance as text."""
        return f"{self.tolerance:g} levels of 255"

    def check(self, row: Row) -> Rerendered:
        """Compare the stored image of `row` with its sha256, its size and its latent."""
        recorded = row.extra.get("image_file")  # none in outputs of earlier versions
        key = RunLayout.picture(row.image_id, self.picture_format) if recorded is None else str(recorded)
        uri = self.store.uri(key)
        try:
            data = self.images.get(key)
        except ObjectNotFoundError:
            return Rerendered("", [f"its image {uri!r} is missing"])
        except StorageError as error:
            return Rerendered(f"its image cannot be read ({error})", [])
        digest = hashlib.sha256(data).hexdigest()
        if digest != row.sha256:
            return Rerendered("", [f"its sha256 is {str(row.sha256)[:12]}...; that of {uri!r} is {digest[:12]}..."])
        try:
            stored = decode_image(data)
        except PictureError as error:
            return Rerendered("", [f"its image {uri!r} is damaged ({error})"])
        given, found = f"{row.width} x {row.height}", f"{stored.shape[1]} x {stored.shape[0]}"
        if row.bytes is not None:  # which earlier versions did not record
            given += f", {row.bytes} bytes of {row.format}"
            found += f", {len(data)} bytes of {self.picture_format.upper()}"
        if given != found:
            return Rerendered("", [f"its row gives {given}; {uri!r} is {found}"])
        return Rerendered("", []) if row.latent is None else self._compared(stored, row, row.latent, uri)

    def _compared(self, stored: np.ndarray, row: Row, latent: np.ndarray, uri: str) -> Rerendered:
        try:
            noise = None if self.noise is None else self.noise(row)
        except I2SError as error:
            return Rerendered(f"its noise maps cannot be read ({error})", [])
        return Rerendered("", self._differences(stored, image_of(latent, self.generator, noise), uri))

    def _differences(self, stored: np.ndarray, expected: np.ndarray, uri: str) -> list[str]:
        if self.picture_format != "png":
            expected = decode_image(encode_image(expected, self.picture_format))
        if stored.shape != expected.shape:
            return [f"{uri!r} is {stored.shape[1]} pixels wide; its latent gives {expected.shape[1]}"]
        levels = float(np.sqrt(np.square(stored.astype(np.float64) - expected).mean()))
        if levels <= self.tolerance:
            return []
        return [f"{uri!r} is {levels:.1f} levels from what its latent gives; {self.within} is near enough"]
