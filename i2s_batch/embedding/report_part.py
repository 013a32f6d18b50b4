"""Adds to the report of an embedding run: images and their reconstructions."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from i2s_batch.embedding.samples import Sample, load_samples
from i2s_batch.models import Generator
from i2s_batch.reporting.charts import number
from i2s_batch.reporting.facts import Facts
from i2s_batch.reporting.inlined import inlined_pixels
from i2s_batch.reporting.page import AMPLIFIED
from i2s_batch.reporting.parts import PageParts, ShownImage
from i2s_batch.run.recorded import present_uris
from i2s_batch.table.shards import read_rows


def embed_parts(out: str, facts: Facts, network: Callable[[], Generator] | None) -> PageParts:
    """Return some images of the run, each with its reconstruction if there is a generator."""
    generator = None if network is None else network()
    fit, present_uri = facts.settings.run.fit, present_uris(out)
    groups = [
        (title, [_shown(sample) for sample in load_samples(read_rows(out, ids), generator, fit, present_uri)])
        for title, ids in facts.picks.items()
    ]
    return PageParts("embed", groups=groups)


def _shown(sample: Sample) -> ShownImage:
    difference = None
    if sample.original is not None and sample.reconstruction is not None:
        error = np.abs(sample.original.astype(np.int16) - sample.reconstruction)
        difference = np.minimum(error * AMPLIFIED, 255).astype(np.uint8)
    distance = sample.row.metrics["w_distance"]
    return ShownImage(
        image_id=sample.row.image_id,
        caption=sample.caption,
        missing=sample.missing,
        distance="none" if distance is None else number(distance),
        pictures=[inlined_pixels(pixels) for pixels in (sample.original, sample.reconstruction, difference)],
    )
