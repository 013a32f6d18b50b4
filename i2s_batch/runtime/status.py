"""How far a run is, from its output alone: nothing is written, no lease is taken, no network is loaded."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from datetime import datetime, timezone
from typing import Any

import numpy as np
import pyarrow as pa

from i2s_batch.errors import ObjectNotFoundError, StorageError
from i2s_batch.records import STATUS_OK
from i2s_batch.runtime.lease import EXPIRY_S, holder_lives, is_here, parse_holder
from i2s_batch.runtime.plan import Plan
from i2s_batch.runtime.run_record import parse_record, resume_command
from i2s_batch.runtime.run_state import read_deaths, undone_checkpoints
from i2s_batch.runtime.summary import SUMMARY_EVERY_S
from i2s_batch.runtime.terminal import duration
from i2s_batch.runtime.work_log import WorkLog
from i2s_batch.storage.layout import RunLayout
from i2s_batch.storage.objects import Store, open_store
from i2s_batch.storage.read import read_shard

RUNNING, STOPPED, FINISHED = "running", "stopped", "finished"

# A summary.json that missed so many of its turns says nothing of the present any more. Generous, because it is
# the clocks of two machines that are compared.
FRESH_S = 9 * SUMMARY_EVERY_S
# Images named in each list.
NAMED = 5

_COLUMNS = ["status", "error_type", "error", "seconds", "embedded_at"]
_SHARD_READERS = 4
_ROW_READERS = 16


@dataclass(frozen=True)
class Holder:
    """Who holds the lease. `since`: UTC, ISO 8601."""

    host: str
    pid: str
    since: str


@dataclass(frozen=True)
class Failure:
    """An image whose row is not ok. `at`: when it was given up, UTC, ISO 8601."""

    image_id: str
    status: str
    error: str
    at: str


@dataclass(frozen=True)
class Slow:
    """A finished image and the time that it spent in a slot."""

    image_id: str
    seconds: float


@dataclass(frozen=True)
class Flight:
    """An image in flight: steps made, by which worker, and how long that worker has had it."""

    image_id: str
    steps: int
    worker: str
    seconds: float


@dataclass(frozen=True)
class Live:
    """What the driver last said in summary.json. Rates are None while there is none, and `waiting_for` says why."""

    age_s: float
    in_flight: int
    longest_in_flight: list[Flight]
    retried: int
    waiting_for: str | None
    steps_per_second: float | None
    images_per_hour: float | None
    eta_seconds: float | None


@dataclass(frozen=True)
class RunStatus:
    """What is known of the run at `out`.

    `images` are planned; `statuses` counts their rows. `holder`: of the lease, alive only when `state` is
    'running'; `live`: None when the run is not running, or the driver's last word is too old (`summary_age_s`).
    `saved`: images with a checkpoint and no row; `deaths`: workers that died with an image; `command` goes on
    with the run, None if a command line cannot say it.
    """

    out: str
    state: str
    images: int
    steps: int
    statuses: dict[str, int]
    shards: int
    shards_published: int
    saved: int
    holder: Holder | None
    summary_age_s: float | None
    live: Live | None
    slowest: list[Slow]
    last_failures: list[Failure]
    deaths: dict[str, int]
    command: str | None

    @property
    def done(self) -> int:
        """Images with a row."""
        return sum(self.statuses.values())

    @property
    def failed(self) -> int:
        """Images whose row is not ok."""
        return self.done - self.statuses.get(STATUS_OK, 0)

    @property
    def running(self) -> bool:
        """Whether a driver works on it."""
        return self.state == RUNNING

    @property
    def finished(self) -> bool:
        """Whether every image has its row in the table."""
        return self.state == FINISHED

    def as_json(self) -> dict[str, Any]:
        """As JSON values."""
        facts = asdict(self)
        counts = {"done": self.done, "failed": self.failed, "remaining": self.images - self.done}
        return {"out": self.out, "state": self.state} | counts | facts


def read_status(out: str, say: Callable[[str], None]) -> RunStatus:
    """The status of the run at `out`, a local path or s3://bucket/prefix. `say` is told of a wait: whether a
    driver on another machine lives shows only in its heartbeat.

    Raises StorageError: no such output, or one that is damaged.
    """
    store = open_store(out)
    record, shard_size, latent_size = _record(store)
    plan = Plan.load(store, shard_size)
    log = WorkLog(store.url, latent_size)
    held = _get(store, RunLayout.lease)
    table = _survey(store, plan, log)
    alive = False
    if held is not None:
        if not is_here(held):
            say(f"waiting for a heartbeat from {_holder(held).host} (at most {duration(EXPIRY_S)})")
        alive = holder_lives(store, RunLayout.lease, held)
        if not alive and _get(store, RunLayout.lease) is None:
            held, table = None, _survey(store, plan, log)  # it ended while we looked: what it did last counts too
    state = RUNNING if alive else STOPPED
    if not alive and len(table.published) == plan.shards and not table.waiting:
        state = FINISHED
    live = _live(_get(store, RunLayout.summary))
    return RunStatus(
        out=store.url,
        state=state,
        images=len(plan),
        steps=int(record["settings"].get("steps", 1)),
        statuses=dict(sorted(Counter(table.status.compress(table.done).tolist()).items())),
        shards=plan.shards,
        shards_published=len(table.published),
        saved=len(undone_checkpoints(table.units_done(), log)),
        holder=None if held is None else _holder(held),
        summary_age_s=None if live is None else live.age_s,
        live=live if live is not None and alive and live.age_s <= FRESH_S else None,
        slowest=table.slowest(),
        last_failures=table.last_failures(),
        deaths={
            table.image_id(plan.unit_range(unit)[0]): n for unit, n in read_deaths(store).items() if unit < plan.units
        },
        command=resume_command(record, store.url),
    )


class _Table:
    """What the rows say, wherever they lie. Image i of the plan is place i of every array."""

    def __init__(self, plan: Plan) -> None:
        self._plan = plan
        self.done = np.zeros(len(plan), bool)
        self.status = np.full(len(plan), "", object)
        self._seconds = np.full(len(plan), np.nan)
        self._failures: dict[int, Failure] = {}
        self.published: set[int] = set()
        self.waiting: set[int] = set()  # units whose rows are in the work log

    def image_id(self, index: int) -> str:
        return str(self._plan.images.column("image_id")[index].as_py())

    def add(self, indices: Iterable[int], rows: pa.Table) -> None:
        """Take `rows` for images that have none yet, or none that is ok."""
        places = np.fromiter(indices, int)
        columns = rows.select(_COLUMNS).to_pydict()
        self.done[places] = True
        self.status[places] = columns["status"]
        self._seconds[places] = np.array(columns["seconds"], float)
        for index, status, kind, error, _, at in zip(places.tolist(), *columns.values(), strict=True):
            self._failures.pop(index, None)
            if status != STATUS_OK:
                when = at.isoformat(timespec="seconds")
                self._failures[index] = Failure(self.image_id(index), status, f"{kind}: {error}", when)

    def add_better(self, images: range, rows: pa.Table) -> None:
        """Take the rows of a later try for those of `images` that are not ok yet."""
        better = [place for place, image in enumerate(images) if self.status[image] != STATUS_OK]
        self.add([images[place] for place in better], rows.take(better))

    def is_ok(self, images: range) -> bool:
        return bool((self.status[images.start : images.stop] == STATUS_OK).all())

    def units_done(self) -> np.ndarray:
        """Of each unit, whether its rows exist."""
        first = [self._plan.unit_range(unit)[0] for unit in range(self._plan.units)]
        return self.done[first]

    def slowest(self) -> list[Slow]:
        order = np.argsort(-self._seconds, kind="stable")[:NAMED]  # NaN, which is no time, comes last
        timed = [index for index in order.tolist() if np.isfinite(self._seconds[index])]
        return [Slow(self.image_id(index), round(float(self._seconds[index]), 1)) for index in timed]

    def last_failures(self) -> list[Failure]:
        return sorted(self._failures.values(), key=lambda failure: failure.at, reverse=True)[:NAMED]


def _survey(store: Store, plan: Plan, log: WorkLog) -> _Table:
    """Read every row that counts, while a driver may be at work.

    A shard is published before its rows leave the work log. So the log is listed first and the shards after it:
    a row that was missed in the log is in a shard. One that vanishes before it can be read has gone there too,
    and that shard is read (again).
    """
    table = _Table(plan)
    table.waiting = {unit for unit in log.logged_rows() if unit < plan.units}
    _add_shards(table, store, plan, _published(store, plan))
    # As when a run goes on: an ok row in a shard stands; any other gives way to a row of a later try.
    wanted = sorted(unit for unit in table.waiting if not table.is_ok(plan.unit_range(unit)))
    vanished = []
    with ThreadPoolExecutor(_ROW_READERS) as pool:
        for unit, rows in zip(wanted, pool.map(log.find_rows, wanted), strict=True):
            if rows is None:
                vanished.append(unit)
            else:
                table.add_better(plan.unit_range(unit), rows)
    if vanished:
        table.waiting.difference_update(vanished)
        _add_shards(table, store, plan, _published(store, plan) & {plan.shard_of(unit) for unit in vanished})
    return table


def _published(store: Store, plan: Plan) -> set[int]:
    keys = (info.key for info in store.list(RunLayout.shards_prefix))
    return {shard for shard in map(RunLayout.shard_index, keys) if shard is not None and shard < plan.shards}


def _add_shards(table: _Table, store: Store, plan: Plan, shards: set[int]) -> None:
    ordered = sorted(shards)
    with ThreadPoolExecutor(_SHARD_READERS) as pool:
        for shard, rows in zip(
            ordered, pool.map(lambda shard: read_shard(store, RunLayout.shard(shard), _COLUMNS), ordered), strict=True
        ):
            indices = plan.shard_range(shard)
            if rows.num_rows != len(indices):
                uri = store.uri(RunLayout.shard(shard))
                raise StorageError(f"{uri!r} has {rows.num_rows} rows for {len(indices)} planned images; run `verify`")
            table.add(indices, rows)
            table.published.add(shard)


def _record(store: Store) -> tuple[dict[str, Any], int, int]:
    """run.json, and of its settings the shard size and L * w_dim."""
    uri = store.uri(RunLayout.run_json)
    content = _get(store, RunLayout.run_json)
    if content is None:
        raise StorageError(f"{store.url!r} holds no run of i2s-batch (no run.json); give the OUT of an embed command")
    record = parse_record(content, uri)
    try:
        shard_size = int(record["settings"]["shard_size"])
        layers, w_dim = map(int, record["generator"]["latent_shape"])
    except (KeyError, TypeError, ValueError) as error:
        raise StorageError(f"{uri} is no run record of i2s-batch ({type(error).__name__}: {error})") from error
    if min(shard_size, layers, w_dim) < 1:
        raise StorageError(f"{uri} is no run record of i2s-batch: a size in it is below 1")
    return record, shard_size, layers * w_dim


def _get(store: Store, key: str) -> bytes | None:
    try:
        return store.get(key)
    except ObjectNotFoundError:
        return None


def _holder(held: bytes) -> Holder:
    facts = parse_holder(held)
    return Holder(*(str(facts.get(name, "unknown")) for name in ("host", "pid", "since")))


def _live(content: bytes | None) -> Live | None:
    """summary.json; None if there is none of a run under way: it is written as the run goes on, and by others."""
    if content is None:
        return None
    try:
        summary = json.loads(content)
        age = (datetime.now(timezone.utc) - datetime.fromisoformat(summary["updated_at"])).total_seconds()
        names = ("in_flight", "retried", "waiting_for", "steps_per_second", "images_per_hour", "eta_seconds")
        flights = [Flight(**flight) for flight in summary["longest_in_flight"]]
        # Clocks may disagree: nothing was written in the future.
        live = Live(max(0.0, round(age, 1)), longest_in_flight=flights, **{name: summary[name] for name in names})
        return None if summary["finished"] else live
    except (ValueError, KeyError, TypeError):
        return None
