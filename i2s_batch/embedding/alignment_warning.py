"""Warns before a run if its images show faces that are not where FFHQ has them: such faces embed badly.

It looks at a sample, only if a face detector is installed, for some seconds, and never stops a run.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from i2s_batch.errors import I2SError, PictureError
from i2s_batch.images.align.detector import FaceDetector, is_installed
from i2s_batch.images.align.frame import is_aligned
from i2s_batch.images.read.decoding import decode_image
from i2s_batch.sources.image_bytes import read_bytes

SAMPLE = 50
_SECONDS = 15.0
_LEAST_SIDE = 128  # pixels: in smaller images, such as icons and thumbnails, the detector finds what is none
_MOST_BYTES, _MOST_PIXELS = 64 << 20, 50_000_000  # of an image that is looked at
_WITHOUT_FACES = 12  # images in a row without a face, after which the rest is not looked at
_SHARE = 0.2  # of the faces that are not aligned, from which on it is worth a line


@dataclass(frozen=True)
class SampledFaces:
    """Counts the images of a sample: those looked at, those with a face, and those whose face is not aligned."""

    images: int = 0
    faces: int = 0
    unaligned: int = 0

    @property
    def warning(self) -> str | None:
        """Return the line for people; None if most images have no face, or most faces are aligned."""
        if 2 * self.faces <= self.images or self.unaligned <= _SHARE * self.faces:
            return None
        have = "has a face" if self.faces == 1 else "have a face"
        count = f"{self.faces} of {self.images} sampled images {have}, {self.unaligned} of them not where FFHQ has it"
        return f"{count}; use --align ffhq if the generator draws faces"


def sampled(images: int) -> list[int]:
    """Return the indices of the sample: evenly spaced, so the same in each run."""
    return np.unique(np.linspace(0, images - 1, min(images, SAMPLE)).round().astype(int)).tolist() if images else []


def look_at_sample(
    uris: Sequence[str], fit: str, detector: FaceDetector, clock: Callable[[], float] = time.monotonic
) -> SampledFaces:
    """Return what the images at `uris` show; what cannot be read, or is too small or large, is left out."""
    found, deadline = SampledFaces(), clock() + _SECONDS
    for uri in uris:
        if clock() > deadline or (not found.faces and found.images >= _WITHOUT_FACES):
            break
        try:
            pixels = decode_image(read_bytes(uri, _MOST_BYTES), _MOST_PIXELS)
            height, width = pixels.shape[:2]
            if min(height, width) < _LEAST_SIDE:
                continue
            faces = detector.faces(pixels)
        except PictureError:
            continue
        bad = bool(faces) and not is_aligned(faces[0], (width, height), fit)
        found = SampledFaces(found.images + 1, found.faces + bool(faces), found.unaligned + bad)
    return found


def alignment_warning(uris: Sequence[str], fit: str) -> str | None:
    """Return the line for people about a sample of the images of a run; None where there is nothing to say."""
    if not is_installed():
        return None
    detector = FaceDetector(image_s=_SECONDS)
    try:
        return look_at_sample(uris, fit, detector).warning
    except I2SError:  # a store that does not answer is for the run to report
        return None
    finally:
        detector.close()
