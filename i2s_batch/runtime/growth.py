"""Growing a run (`--grow`): what has come to its source, changed there or gone, since its plan was made."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime, timezone

import pyarrow as pa

from i2s_batch.errors import PictureError, RunConflictError
from i2s_batch.runtime.assembly import Assembler
from i2s_batch.runtime.plan import Plan
from i2s_batch.runtime.run_state import RunState
from i2s_batch.storage.sources import read_bytes

_READERS = 16  # pictures read at once: their bytes alone tell whether they are the same


def grown_plan(plan: Plan, listing: pa.Table) -> Plan:
    """`plan` with the images of `listing`, the source as it is now, that it lacks."""
    if listing.schema.names != plan.images.schema.names:
        raise RunConflictError(
            f"the list has the columns {', '.join(listing.schema.names)} now, the run was planned with "
            f"{', '.join(plan.images.schema.names)}; give the same columns, or another OUT"
        )
    return plan.grown(listing.cast(plan.images.schema))


def compare(state: RunState, assembler: Assembler, plan: Plan, listing: pa.Table, say: Callable[[str], None]) -> None:
    """Mark the images whose bytes are no longer those that their rows tell of as not done, and in the table those
    that are gone from the source. Their rows stay. Only published rows are compared."""
    there = set(listing["image_id"].to_pylist())
    changed = gone = 0
    for shard in sorted(state.published):
        rows = assembler.published(shard, ["image_id", "sha256", "vanished_at"])
        ids = rows["image_id"].to_pylist()
        gone += assembler.mark_vanished(shard, _vanished(rows, ids, there))
        first = plan.shard_range(shard).start
        kept = [place for place, image_id in enumerate(ids) if image_id in there]
        uris = plan.shard_images(shard)["uri"].take(kept).to_pylist()
        stored = rows["sha256"].take(kept).to_pylist()
        with ThreadPoolExecutor(_READERS) as pool:
            for place, old, new in zip(kept, stored, pool.map(_sha256, uris), strict=True):
                if new is not None and new != old:
                    state.done[plan.unit_of(first + place)] = False
                    changed += 1
    say(f"{changed} pictures have changed, {gone} are gone (their rows stay); {len(listing)} are there")


def _vanished(rows: pa.Table, ids: list[str], there: set[str]) -> pa.Array | None:
    """The column `vanished_at` as it ought to be; None if it is."""
    now = datetime.now(timezone.utc)
    before = rows["vanished_at"].to_pylist()
    wanted = [None if image_id in there else (since or now) for image_id, since in zip(ids, before, strict=True)]
    return None if wanted == before else pa.array(wanted, rows["vanished_at"].type)


def _sha256(uri: str) -> str | None:
    """None if it cannot be read now: the row that there is tells more than one that says so."""
    try:
        return hashlib.sha256(read_bytes(uri)).hexdigest()
    except PictureError:
        return None
