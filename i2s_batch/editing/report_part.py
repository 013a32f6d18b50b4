"""Adds to the report of an edit run: some edits, before and after."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from i2s_batch.editing.strips import Strip, load_strips, strip_image
from i2s_batch.models import Generator
from i2s_batch.reporting.inlined import inlined_image
from i2s_batch.reporting.parts import PageParts, ShownStrip

STRIP_SIDE = 96  # of an image in a strip of edits


def edit_parts(out: str, network: Callable[[], Generator] | None, strips: Sequence[Strip] | None = None) -> PageParts:
    """Return some edits as one picture each, before and after; none without a generator.

    Args:
        out: The output.
        network: Builds the generator, when something is to be drawn.
        strips: The edits, if they are loaded already.
    """
    if strips is None:
        strips = [] if network is None else load_strips(out, network)
    shown = [
        ShownStrip(strip.name, strip.caption, strip.alt, inlined_image(strip_image(strip, STRIP_SIDE)))
        for strip in strips
    ]
    return PageParts("edit", strips=shown)
