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
        indices = plan.shard_range(shard)
        found: dict[int, str] = {}
        if shard in state.published:
            found = dict(zip(indices, assembler.statuses(shard).to_pylist(), strict=True))
        logged = sorted(state.logged.get(shard, ()))
        for index, status in zip(logged, log.read_rows(logged).column("status").to_pylist(), strict=True):
            if found.get(index) != STATUS_OK:
                found[index] = status
        state.statuses.update(status for index, status in found.items() if state.done[index])


def forget_failures(state: RunState, assembler: Assembler, log: WorkLog, plan: Plan) -> int:
    """Mark every image whose row is not ok as not done (`--retry-failed`); how many.

    A row that an interrupted retry left in the log stands for its image, whatever the shard says.
    """
    failed: set[int] = set()
    for shard in state.published:
        bad = pc.not_equal(assembler.statuses(shard), STATUS_OK).to_numpy()
        failed |= {plan.shard_range(shard)[i] for i in np.flatnonzero(bad)} - state.logged.get(shard, set())
    for indices in state.logged.values():
        ordered = sorted(indices)
        bad = pc.not_equal(log.read_rows(ordered).column("status"), STATUS_OK).to_numpy()
        again = {ordered[i] for i in np.flatnonzero(bad)}
        log.delete_rows(again)
        indices.difference_update(again)
        failed |= again
    state.done[sorted(failed)] = False
    state.deaths = {index: n for index, n in state.deaths.items() if index < len(plan) and state.done[index]}
    state.checkpointed = undone_checkpoints(state.done, log)
    return len(failed)
