"""Which rows are not ok: counted for the summary, forgotten for `--retry-failed`."""

from __future__ import annotations

import numpy as np
import pyarrow.compute as pc

from i2s_batch.records import STATUS_OK
from i2s_batch.runtime.assembly import Assembler
from i2s_batch.runtime.plan import Plan
from i2s_batch.runtime.run_state import RunState, undone_checkpoints
from i2s_batch.runtime.work_log import WorkLog


def count_statuses(state: RunState, assembler: Assembler, log: WorkLog, plan: Plan) -> None:
    """Fill `state.statuses` from the rows that exist and count as done."""
    for shard in state.published | state.logged.keys():
        found: dict[int, str] = {}
        if shard in state.published:
            found = dict(
                zip(plan.shard_range(shard), assembler.published(shard, ["status"])["status"].to_pylist(), strict=True)
            )
        for image, status in _logged_statuses(state.logged.get(shard, set()), log, plan):
            if found.get(image) != STATUS_OK:
                found[image] = status
        state.statuses.update(status for image, status in found.items() if state.done[plan.unit_of(image)])


def _logged_statuses(units: set[int], log: WorkLog, plan: Plan) -> list[tuple[int, str]]:
    """Image and status of every logged row of `units`."""
    ordered = sorted(units)
    images = [image for unit in ordered for image in plan.unit_range(unit)]
    return list(zip(images, log.read_rows(ordered).column("status").to_pylist(), strict=True))


def forget_failures(state: RunState, assembler: Assembler, log: WorkLog, plan: Plan) -> int:
    """Mark every unit with a row that is not ok as not done (`--retry-failed`); how many such rows there are.

    Rows that an interrupted retry left in the log stand for their images, whatever the shard says.
    """
    failed: list[int] = []  # images
    for shard in state.published:
        bad = pc.not_equal(assembler.published(shard, ["status"])["status"], STATUS_OK).to_numpy()
        images = (plan.shard_range(shard)[i] for i in np.flatnonzero(bad))
        failed += [image for image in images if plan.unit_of(image) not in state.logged.get(shard, set())]
    for units in state.logged.values():
        bad_images = [image for image, status in _logged_statuses(units, log, plan) if status != STATUS_OK]
        again = {plan.unit_of(image) for image in bad_images}
        log.delete_rows(again)
        units.difference_update(again)
        failed += bad_images
    state.done[sorted({plan.unit_of(image) for image in failed})] = False
    state.deaths = {unit: n for unit, n in state.deaths.items() if unit < plan.units and state.done[unit]}
    state.checkpointed = undone_checkpoints(state.done, log)
    return len(failed)
