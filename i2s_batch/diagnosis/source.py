"""Checks SOURCE: that it can be listed, and that a sample of it can be decoded, and how fast."""

from __future__ import annotations

import time
from collections.abc import Iterator
from itertools import pairwise

import numpy as np

from i2s_batch.diagnosis.asked import Asked, Known
from i2s_batch.diagnosis.findings import Finding, fail, ok, warn
from i2s_batch.errors import PictureError
from i2s_batch.images.read.decoding import decode_image
from i2s_batch.parquet.sorted_rows import SpilledRows
from i2s_batch.plurals import counted
from i2s_batch.sources.image_bytes import read_bytes
from i2s_batch.sources.source import list_images

SAMPLE = 20
_LIMIT_S = 60.0
_NAMED = 3


def check(asked: Asked, known: Known) -> Iterator[Finding]:
    """Yield how many images there are, and how a sample of them decodes."""
    notes: list[str] = []
    began = time.monotonic()
    images = list_images(asked.source, asked.out or None, asked.source_options, notes.append)
    known.images = images
    yield ok("images", f"{counted(images.num_rows, 'file')}, listed in {time.monotonic() - began:.1f} s")
    for note in notes:
        yield ok("images", note)
    yield _decoded(sampled(images))


def sampled(images: SpilledRows, count: int = SAMPLE) -> list[tuple[str, str]]:
    """Return the ids and URIs of some images, evenly spaced, so the same each time."""
    indices = np.unique(np.linspace(0, images.num_rows - 1, min(images.num_rows, count)).round().astype(int)).tolist()
    rows = [images.slice(index, 1) for index in indices]
    return [(row["image_id"][0].as_py(), row["uri"][0].as_py()) for row in rows]


def _decoded(sample: list[tuple[str, str]]) -> Finding:
    """Return how a sample decodes, in one thread, and what is wrong with the files that do not."""
    times, faults = [time.monotonic()], []
    for image_id, uri in sample:
        if time.monotonic() - times[0] > _LIMIT_S:
            break
        try:
            decode_image(read_bytes(uri))
        except PictureError as error:
            faults.append(f"{image_id}: {error}")
        times.append(time.monotonic())
    tried = len(times) - 1
    good = tried - len(faults)
    named = "; ".join(faults[:_NAMED]) + (f"; and {len(faults) - _NAMED} more" if len(faults) > _NAMED else "")
    if not good:
        advice = "give the folder that holds the images, or choose them with --include '*.jpg'"
        return fail("decoding", f"none of {counted(tried, 'sampled file')} is an image ({named})", advice)
    each = float(np.median([after - before for before, after in pairwise(times)]))
    found = f"{good} of {counted(tried, 'sampled file')} decoded, {1 / max(each, 1e-6):.0f} a second and thread"
    if faults:
        return warn("decoding", f"{found} ({named})", "files that are no images become rows with their error")
    return ok("decoding", found)
