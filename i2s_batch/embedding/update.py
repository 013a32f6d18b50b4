"""Updates a run incrementally (`--update`): finds what is new, changed or gone in its source since it was planned."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime

import numpy as np
import pyarrow as pa

from i2s_batch.errors import PictureError, RunConflictError
from i2s_batch.output.plan import Plan
from i2s_batch.output.run_state import RunState
from i2s_batch.parquet.row_groups import RowGroups
from i2s_batch.parquet.sorted_rows import SortedIds, spilled
from i2s_batch.plurals import counted
from i2s_batch.run.assembly import Assembler
from i2s_batch.sources.image_bytes import read_bytes
from i2s_batch.sources.list_rows import names_in_new_table
from i2s_batch.sources.list_text import is_list

_READERS = 16  # images read at once: only their bytes show whether they are the same


def as_planned(plan: Plan, listing: RowGroups, source: str, report: Callable[[str], None]) -> RowGroups:
    """Return `listing` with the columns of `plan`, if it has more and its `source` is no list.

    A folder or an archive may have got columns since: of descriptions beside its images, or of a form of which this
    program reads more than the one that planned the run. Columns of a list are somebody's decision.
    """
    planned = plan.images.schema.names
    added = [name for name in listing.schema.names if name not in planned]
    if is_list(source) or not added or not set(planned) <= set(listing.schema.names):
        return listing
    report(f"columns that the images have got since the run was planned are left out: {', '.join(added)}")
    schema = pa.schema([listing.schema.field(name) for name in planned])
    return spilled((part.select(planned) for part in listing.parts(planned)), schema)


def updated_plan(plan: Plan, listing: RowGroups, most: int | None = None) -> Plan:
    """Return `plan` with the images of `listing`, the source as it is now, that it lacks, up to `most` in all.

    A run of an earlier version keeps its columns of a list: one that has the name of a column that the program has now
    was not renamed then.

    Raises:
        RunConflictError: The columns of an input list are not those of the plan.
    """
    planned = plan.images.schema.names
    if listing.schema.names not in (planned, names_in_new_table(planned)):
        raise RunConflictError(
            f"the list has the columns {', '.join(listing.schema.names)} now, but the run was planned with "
            f"{', '.join(planned)}; give the same columns, or another OUT"
        )
    return plan.with_new_images(listing, most)


def compare(
    state: RunState,
    assembler: Assembler,
    plan: Plan,
    listing: RowGroups,
    report: Callable[[str], None],
    present_uri: Callable[[str], str],
) -> None:
    """Mark changed images as not done, and the rows of images that are gone from the source.

    An image has changed if its bytes are not those of the checksum in its row. Rows of images that are gone stay in the
    table. Only published rows are compared. The ids of a generation are sorted as those of the listing are, which is
    read once for each. `present_uri` returns where an image is now that was planned elsewhere.
    """
    changed = gone = 0
    for shards in plan.generation_shards():
        current = SortedIds(listing.parts(["image_id"]))
        for shard in filter(state.published.__contains__, shards):
            rows = assembler.published(shard, ["image_id", "sha256", "vanished_at"])
            present = current.contain(rows["image_id"])
            if "vanished_at" in rows.column_names:  # which the first version lacked
                gone += assembler.mark_vanished(shard, _vanished(rows, present))
            positions = np.flatnonzero(present)
            uris = plan.shard_images(shard)["uri"].take(positions).to_pylist()
            changed += _mark_changed(state, plan, shard, positions, list(map(present_uri, uris)), rows["sha256"])
    what = (
        f"{counted(changed, 'image has', 'images have')} changed, {counted(gone, 'is', 'are')} gone (their rows stay)"
    )
    report(f"{what}; SOURCE holds {listing.num_rows} now")


def _mark_changed(
    state: RunState, plan: Plan, shard: int, positions: np.ndarray, uris: list[str], hashes: pa.ChunkedArray
) -> int:
    """Mark the changed images among those at `positions` of a shard as not done, and return how many changed.

    Args:
        state: The state of the run, which is updated.
        plan: The plan.
        shard: The number of the shard.
        positions: Positions in the shard of the images that still exist.
        uris: Where these are.
        hashes: The checksums in the rows of the shard.
    """
    first, changed = plan.shard_range(shard).start, 0
    stored = hashes.take(positions).to_pylist()
    with ThreadPoolExecutor(_READERS) as pool:
        for position, old, new in zip(positions, stored, pool.map(_sha256, uris), strict=True):
            if new is not None and new != old:
                state.done[plan.unit_of(first + int(position))] = False
                changed += 1
    return changed


def _vanished(rows: pa.Table, present: np.ndarray) -> pa.Array | None:
    """Return the column `vanished_at` as it ought to be; None if it is so already."""
    now = datetime.now(UTC)
    before = rows["vanished_at"].to_pylist()
    wanted = [None if exists else (since or now) for exists, since in zip(present, before, strict=True)]
    return None if wanted == before else pa.array(wanted, rows["vanished_at"].type)


def _sha256(uri: str) -> str | None:
    """Return the checksum of a file; None if it cannot be read now, and the row stays as it is."""
    try:
        return hashlib.sha256(read_bytes(uri)).hexdigest()
    except PictureError:
        return None
