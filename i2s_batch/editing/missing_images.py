"""Finds images that a finished part of a run has lost, so that the same command makes them again."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from i2s_batch.editing.planned_images import FILE, file_of
from i2s_batch.output.layout import RunLayout
from i2s_batch.output.plan import Plan
from i2s_batch.output.run_state import RunState
from i2s_batch.plurals import counted
from i2s_batch.run.assembly import Assembler
from i2s_batch.schema.columns import STATUS_OK
from i2s_batch.storage import Store


def redo_missing(
    state: RunState, assembler: Assembler, plan: Plan, store: Store, report: Callable[[str], None]
) -> None:
    """Mark the units of images that are no longer in the output as not done, and report how many are missing.

    Only rows in the table are looked at. The rows stay: an image that is drawn again with the same bytes has the row
    that it had.
    """
    if not state.published:
        return
    present = {info.key for info in store.list(RunLayout.pictures_prefix)}
    missing = 0
    for shard in sorted(state.published):
        first = plan.shard_range(shard).start
        made = np.flatnonzero(assembler.statuses(shard) == STATUS_OK).tolist()
        names = [name for name in ("image_id", "uri", FILE) if name in plan.table_columns]
        images = plan.shard_images(shard).select(names).take(made).to_pylist()
        for position, image in zip(made, images, strict=True):
            if file_of(image.get(FILE), image["image_id"], image["uri"]) not in present:
                state.done[plan.unit_of(first + position)] = False
                missing += 1
    if missing:
        what = counted(missing, "image is", "images are")
        report(f"{what} no longer in {store.url}; making {'it' if missing == 1 else 'them'} again")
