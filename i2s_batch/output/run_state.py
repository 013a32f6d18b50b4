"""Determines the state of a run, what is done, from its output and nothing else."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

import msgspec
import numpy as np

from i2s_batch.errors import ObjectNotFoundError
from i2s_batch.output.layout import RunLayout
from i2s_batch.output.plan import Plan
from i2s_batch.output.work_log import WorkLog
from i2s_batch.storage import Store

# A unit gets rows with status `crashed` when this many workers have died with it.
DEATHS_TO_CRASH = 3


def _ignore(line: str) -> None:
    """Ignore a message: for callers that only inspect a run."""


@dataclass
class RunState:
    """Holds which units of the plan are done, and where their rows are. Done means that the rows exist.

    Attributes:
        done: bool [units].
        count_images: Returns the number of images in the units that a mask [units] selects.
        logged: Units of each shard whose rows are in the work log.
        published: Shards in the table.
        checkpointed: Units that were in flight when a driver ended.
        deaths: Number of workers that died with a unit.
        statuses: Number of images of each status.
    """

    done: np.ndarray
    count_images: Callable[[np.ndarray], int]
    logged: dict[int, set[int]]
    published: set[int]
    checkpointed: set[int]
    deaths: dict[int, int]
    statuses: Counter[str] = field(default_factory=Counter)

    @property
    def remaining(self) -> int:
        """Return the number of units that are not done."""
        return int(len(self.done) - np.count_nonzero(self.done))

    @property
    def images(self) -> int:
        """Return the number of images of the run."""
        return self.count_images(np.ones_like(self.done))

    @property
    def remaining_images(self) -> int:
        """Return the number of images without a row."""
        return self.count_images(~self.done)


def scan(store: Store, plan: Plan, log: WorkLog, report: Callable[[str], None] = _ignore) -> RunState:
    """Return the state of a run, read from its output; report damaged files, which count as missing."""
    keys = (info.key for info in store.list(RunLayout.shards_prefix))
    published = {shard for shard in map(RunLayout.shard_index, keys) if shard is not None and shard < plan.shards}
    done = np.zeros(plan.units, bool)
    logged: dict[int, set[int]] = {}
    for shard in published:
        units = plan.units_of(shard)
        done[units.start : units.stop] = True
    for index in log.logged_rows():
        if index < plan.units:
            done[index] = True
            logged.setdefault(plan.shard_of(index), set()).add(index)
    checkpointed, deaths = undone_checkpoints(done, log), read_deaths(store, report)
    return RunState(done, plan.count_images, logged, published, checkpointed, deaths)


def nothing_done(plan: Plan) -> RunState:
    """Return the state of a run that has not begun."""
    return RunState(np.zeros(plan.units, bool), plan.count_images, {}, set(), set(), {})


def undone_checkpoints(done: np.ndarray, log: WorkLog) -> set[int]:
    """Return the units that have a checkpoint and no row."""
    return {index for index in log.logged_checkpoints() if index < len(done) and not done[index]}


def save_deaths(store: Store, deaths: Mapping[int, int]) -> None:
    """Record how many workers have died with each unit."""
    store.put(RunLayout.deaths, msgspec.json.encode(dict(deaths)))


def read_deaths(store: Store, report: Callable[[str], None] = _ignore) -> dict[int, int]:
    """Return how many workers have died with each unit.

    A damaged record is reported and counts as none: a unit that kills its workers then kills some more before it is
    given up.
    """
    try:
        counts = msgspec.json.decode(store.get(RunLayout.deaths), type=dict[int, int])
        if any(index < 0 or count < 0 for index, count in counts.items()):
            raise ValueError("a number is below 0")
        return counts
    except ObjectNotFoundError:
        return {}
    except (ValueError, RecursionError) as error:
        reason = " ".join(str(error).split())
        report(f"{store.uri(RunLayout.deaths)} is damaged ({reason}); deaths of workers are counted from 0 again")
        return {}
