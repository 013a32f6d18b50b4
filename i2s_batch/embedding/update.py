"""Growing a run (`--grow`): what has come to its source, changed there or gone, since its plan was made."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime, timezone

import numpy as np
import pyarrow as pa

from i2s_batch.errors import PictureError, RunConflictError
from i2s_batch.output.plan import Plan
from i2s_batch.output.run_state import RunState
from i2s_batch.parquet.row_groups import RowGroups
from i2s_batch.parquet.sorted_rows import SortedIds
from i2s_batch.run.assembly import Assembler
from i2s_batch.sources.image_bytes import read_bytes

_READERS = 16  # pictures read at once: their bytes alone tell whether they are the same


def grown_plan(plan: Plan, listing: RowGroups) -> Plan:
    """`plan` with the images of `listing`, the source as it is now, that it lacks."""
    if listing.schema.names != plan.images.schema.names:
        raise RunConflictError(
            f"the list has the columns {', '.join(listing.schema.names)} now, the run was planned with "
            f"{', '.join(plan.images.schema.names)}; give the same columns, or another OUT"
        )
    return plan.with_new_images(listing)


def compare(state: RunState, assembler: Assembler, plan: Plan, listing: RowGroups, say: Callable[[str], None]) -> None:
    """Mark the images whose bytes are no longer those that their rows tell of as not done, and in the table those
    that are gone from the source. Their rows stay. Only published rows are compared.

    The ids of a generation are sorted as those of the listing are, which is gone through once with each.
    """
    changed = gone = 0
    for shards in plan.generation_shards():
        there = SortedIds(listing.parts(["image_id"]))
        for shard in filter(state.published.__contains__, shards):
            rows = assembler.published(shard, ["image_id", "sha256", "vanished_at"])
            present = there.contain(rows["image_id"])
            gone += assembler.mark_vanished(shard, _vanished(rows, present))
            changed += _mark_changed(state, plan, shard, np.flatnonzero(present), rows["sha256"])
    say(f"{changed} pictures have changed, {gone} are gone (their rows stay); {listing.num_rows} are there")


def _mark_changed(state: RunState, plan: Plan, shard: int, places: np.ndarray, hashes: pa.ChunkedArray) -> int:
    """How many of the images at `places` of a shard have other bytes now than those that `hashes` tell of."""
    first, changed = plan.shard_range(shard).start, 0
    uris = plan.shard_images(shard)["uri"].take(places).to_pylist()
    stored = hashes.take(places).to_pylist()
    with ThreadPoolExecutor(_READERS) as pool:
        for place, old, new in zip(places, stored, pool.map(_sha256, uris), strict=True):
            if new is not None and new != old:
                state.done[plan.unit_of(first + int(place))] = False
                changed += 1
    return changed


def _vanished(rows: pa.Table, present: np.ndarray) -> pa.Array | None:
    """The column `vanished_at` as it ought to be; None if it is."""
    now = datetime.now(timezone.utc)
    before = rows["vanished_at"].to_pylist()
    wanted = [None if there else (since or now) for there, since in zip(present, before, strict=True)]
    return None if wanted == before else pa.array(wanted, rows["vanished_at"].type)


def _sha256(uri: str) -> str | None:
    """None if it cannot be read now: the row that there is tells more than one that says so."""
    try:
        return hashlib.sha256(read_bytes(uri)).hexdigest()
    except PictureError:
        return None
