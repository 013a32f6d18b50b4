"""What the report of an edit shows beside the figures of its table: what was edited, and what came of it."""

from __future__ import annotations

from i2s_batch.editing.strips import load_strips, strip_image
from i2s_batch.models import Generator
from i2s_batch.report.facts import Facts
from i2s_batch.report.inlined import inlined_image
from i2s_batch.report.parts import PageParts, ShownStrip

STRIP_SIDE = 96  # of an image in a strip of edits


def edit_parts(out: str, facts: Facts, generator: Generator | None) -> PageParts:
    """Return some edits as one picture each, before and after; none without a generator."""
    strips = [] if generator is None else load_strips(out, generator)
    shown = [
        ShownStrip(strip.name, strip.caption, strip.alt, inlined_image(strip_image(strip, STRIP_SIDE)))
        for strip in strips
    ]
    return PageParts("edit", strips=shown)
