"""Finds rows that are not ok: counted for the summary, reset for `--retry-failed`."""

from __future__ import annotations

from collections import Counter

import numpy as np

from i2s_batch.concurrency import map_ahead
from i2s_batch.output.logged_rows import planned_rows
from i2s_batch.output.plan import Plan
from i2s_batch.output.run_state import DEATHS_TO_CRASH, RunState, save_deaths, undone_checkpoints
from i2s_batch.output.work_log import WorkLog
from i2s_batch.run.assembly import Assembler
from i2s_batch.schema.columns import NOT_FAILED, STATUS_OK
from i2s_batch.storage import Store

_READERS = 16  # shards read at once: mostly a footer each, whose cost on S3 is waiting


def count_statuses(state: RunState, assembler: Assembler, log: WorkLog, plan: Plan) -> None:
    """Fill `state.statuses` from the rows that exist and count as done."""

    def counted(shard: int) -> Counter[str]:
        images = plan.shard_range(shard)
        is_published = shard in state.published
        status = assembler.statuses(shard) if is_published else np.full(len(images), None, object)
        if shard in state.logged:
            for image, logged in _logged_statuses(state.logged[shard], log, plan):
                if status[image - images.start] != STATUS_OK:
                    status[image - images.start] = logged
        return Counter(status[plan.by_image(state.done, shard)].tolist())

    for counts in map_ahead(counted, sorted(state.published | state.logged.keys()), _READERS):
        state.statuses.update(counts)


def _logged_statuses(units: set[int], log: WorkLog, plan: Plan) -> list[tuple[int, str]]:
    """Return image and status of every logged row of `units`."""
    ordered = sorted(units)
    images = [image for unit in ordered for image in plan.unit_range(unit)]
    return list(zip(images, planned_rows(log, plan, ordered).column("status").to_pylist(), strict=True))


def failed_images(state: RunState, assembler: Assembler, log: WorkLog, plan: Plan) -> tuple[list[int], list[int]]:
    """Return the images that failed: those of the table, and those of the log.

    Rows that an interrupted retry left in the log take precedence over those of the shard.
    """

    def failed_in(shard: int) -> list[int]:
        bad = np.flatnonzero(~np.isin(assembler.statuses(shard), NOT_FAILED))
        images = (plan.shard_range(shard)[position] for position in bad.tolist())
        return [image for image in images if plan.unit_of(image) not in state.logged.get(shard, set())]

    published = [image for images in map_ahead(failed_in, sorted(state.published), _READERS) for image in images]
    rows = [row for units in state.logged.values() for row in _logged_statuses(units, log, plan)]
    return published, [image for image, status in rows if status not in NOT_FAILED]


def reset_failures(state: RunState, assembler: Assembler, log: WorkLog, plan: Plan, store: Store) -> int:
    """Mark every unit with a row that is not ok as not done (`--retry-failed`); return the number of such rows.

    Units that were given up because workers died with them are tried as often again. The deaths with others still
    count: an image that ends the process each time must be given up whatever the command's options are.
    """
    published, logged = failed_images(state, assembler, log, plan)
    given_up = {plan.unit_of(image) for image in published + logged}
    given_up &= {unit for unit, deaths in state.deaths.items() if deaths >= DEATHS_TO_CRASH}
    state.deaths = {unit: n for unit, n in state.deaths.items() if unit < plan.units and unit not in given_up}
    if given_up:  # before their rows are deleted: without a row their counts alone would decide
        save_deaths(store, state.deaths)
    retried = {plan.unit_of(image) for image in logged}
    log.delete_rows(retried)
    for units in state.logged.values():
        units.difference_update(retried)
    failed = published + logged
    state.done[sorted({plan.unit_of(image) for image in failed})] = False
    state.checkpointed = undone_checkpoints(state.done, log)
    return len(failed)
