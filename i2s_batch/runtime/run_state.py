"""What is done: the state of a run, read from its output and nothing else."""

from __future__ import annotations

import json
from collections import Counter
from dataclasses import dataclass, field

import numpy as np

from i2s_batch.errors import ObjectNotFoundError, StorageError
from i2s_batch.runtime.plan import Plan
from i2s_batch.runtime.work_log import WorkLog
from i2s_batch.storage.layout import RunLayout
from i2s_batch.storage.objects import Store


@dataclass
class RunState:
    """Which images are done, and where their rows are. Done means that the row exists.

    `done` [N] bool; `logged`: images of each shard whose rows wait in the work log; `published`: shards in the
    table; `checkpointed`: images in flight when a driver ended; `deaths`: workers that died with an image.
    """

    done: np.ndarray
    logged: dict[int, set[int]]
    published: set[int]
    checkpointed: set[int]
    deaths: dict[int, int]
    statuses: Counter[str] = field(default_factory=Counter)

    @property
    def remaining(self) -> int:
        """Images without a row."""
        return int(len(self.done) - np.count_nonzero(self.done))


def scan(store: Store, plan: Plan, log: WorkLog) -> RunState:
    """Read the state of a run from its output."""
    layout = RunLayout(plan.shard_size)
    keys = (info.key for info in store.list(layout.shards_prefix))
    published = {shard for shard in map(layout.shard_index, keys) if shard is not None and shard < plan.shards}
    done = np.zeros(len(plan), bool)
    logged: dict[int, set[int]] = {}
    for shard in published:
        done[plan.shard_range(shard)] = True
    for index in log.logged_rows():
        if index < len(plan):
            done[index] = True
            logged.setdefault(index // plan.shard_size, set()).add(index)
    return RunState(done, logged, published, undone_checkpoints(done, log), read_deaths(store, layout))


def undone_checkpoints(done: np.ndarray, log: WorkLog) -> set[int]:
    """The images that have a checkpoint and no row."""
    return {index for index in log.logged_checkpoints() if index < len(done) and not done[index]}


def read_deaths(store: Store, layout: RunLayout) -> dict[int, int]:
    """How many workers have died with each image."""
    try:
        return {int(index): int(count) for index, count in json.loads(store.get(layout.deaths)).items()}
    except ObjectNotFoundError:
        return {}
    except ValueError as error:
        raise StorageError(f"{store.uri(layout.deaths)} is damaged ({error}); delete it and run again") from error
