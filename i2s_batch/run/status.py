"""Determines how far a run is, from its output alone: nothing is written, no lease is taken, no network is loaded."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, fields
from datetime import UTC, datetime

import numpy as np
import pyarrow as pa

from i2s_batch.concurrency import map_ahead
from i2s_batch.config import Json
from i2s_batch.errors import ObjectNotFoundError, StorageError
from i2s_batch.output.layout import RunLayout
from i2s_batch.output.lease import EXPIRY_S, is_holder_alive, is_on_this_machine, parse_holder
from i2s_batch.output.plan import Plan
from i2s_batch.output.run_record import RunRecord
from i2s_batch.output.run_state import read_deaths
from i2s_batch.output.run_summary import Flight
from i2s_batch.output.summary_file import SUMMARY_EVERY_S
from i2s_batch.output.work_log import RowsDamagedError, RowsGoneError, WorkLog
from i2s_batch.run.terminal import duration
from i2s_batch.schema.columns import NOT_FAILED, STATUS_OK
from i2s_batch.schema.settings import load
from i2s_batch.storage import Store, open_store
from i2s_batch.table.shards import read_shard

RUNNING, STOPPED, FINISHED = "running", "stopped", "finished"

# A summary.json that is older than this describes the present no more. Generous, because the clocks of two machines are
# compared.
FRESH_S = 9 * SUMMARY_EVERY_S
# Images named in each list.
NAMED = 5

_COLUMNS = ["status", "error_type", "error", "seconds", "embedded_at"]
_OK = 1  # the number of STATUS_OK in `Survey`
_SORTED_AT_ONCE = 1 << 20
# Number of failures whose texts are kept before all but the latest are dropped.
FAILURES_HELD = 10_000
_SHARD_READERS = 8  # shards of which some columns are fetched at once: on S3 that is mostly waiting
ROW_READERS = 16


@dataclass(frozen=True)
class Holder:
    """Names who holds the lease. `since`: UTC, ISO 8601."""

    host: str
    pid: str
    since: str


@dataclass(frozen=True)
class Failure:
    """Describes an image whose row is not ok. `at`: when it was given up, UTC, ISO 8601."""

    image_id: str
    status: str
    error: str
    at: str


@dataclass(frozen=True)
class Slow:
    """Names a finished image and the time that it spent in a slot."""

    image_id: str
    seconds: float


@dataclass(frozen=True)
class Live:
    """Holds what the driver last wrote into summary.json.

    Rates are None while there is none, and `waiting_for` gives the reason.
    """

    age_s: float
    in_flight: int
    longest_in_flight: tuple[Flight, ...]
    retried: int
    waiting_for: str | None
    steps_per_second: float | None
    images_per_hour: float | None
    eta_seconds: float | None


@dataclass(frozen=True)
class _Summary:
    """Holds those fields of summary.json that `Live` shows."""

    finished: bool
    updated_at: datetime
    in_flight: int
    longest_in_flight: tuple[Flight, ...]
    retried: int
    waiting_for: str | None
    steps_per_second: float | None
    images_per_hour: float | None
    eta_seconds: float | None


@dataclass(frozen=True)
class RunStatus:
    """Holds what is known of the run at `out`.

    Attributes:
        out: The output.
        state: `running`, `stopped` or `finished`.
        images: Planned images.
        steps: Updates of an image, those of its noise maps included.
        statuses: Number of rows of each status.
        shards: Planned shards.
        shards_published: Shards in the table.
        saved: Images with a checkpoint and no row.
        holder: Who holds the lease; alive only when `state` is `running`.
        summary_age_s: Age of summary.json, in seconds.
        live: What the driver reports; None when the run is not running, or summary.json is too old.
        slowest: The images that took longest.
        last_failures: The most recent failures.
        deaths: Workers that died with an image.
        command: The command that resumes the run; None if a command line cannot express it.
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
        """Return the number of images with a row."""
        return sum(self.statuses.values())

    @property
    def failed(self) -> int:
        """Return how many images failed; a file that is not an image has not."""
        return self.done - sum(self.statuses.get(status, 0) for status in NOT_FAILED)

    @property
    def running(self) -> bool:
        """Return whether a driver works on it."""
        return self.state == RUNNING

    @property
    def finished(self) -> bool:
        """Return whether every image has its row in the table."""
        return self.state == FINISHED

    def as_json(self) -> dict[str, Json]:
        """Return it as JSON values."""
        facts: dict[str, Json] = asdict(self)
        counts: dict[str, Json] = {"done": self.done, "failed": self.failed, "remaining": self.images - self.done}
        return {"out": self.out, "state": self.state} | counts | facts


def read_status(out: str, report: Callable[[str], None]) -> RunStatus:
    """Return the status of the run at `out`, a local path or s3://bucket/prefix.

    `report` gets a line before a wait: whether a driver on another machine is alive shows only in its heartbeat.

    Raises:
        StorageError: No such output, or one that is damaged.
    """
    store = open_store(out)
    record = _record(store)
    plan = Plan.load(store, record.shard_size)
    log = WorkLog(store.url, record.generator.latent_size, record.row_origin)
    held = _get(store, RunLayout.lease)
    table = survey(store, plan, log, report)
    alive = False
    if held is not None:
        if not is_on_this_machine(held):
            report(f"waiting for a heartbeat from {_holder(held).host} (at most {duration(EXPIRY_S)})")
        alive = is_holder_alive(store, RunLayout.lease, held)
        if not alive and _get(store, RunLayout.lease) is None:
            held, table = None, survey(store, plan, log)  # it ended meanwhile: its last rows count too
    state = RUNNING if alive else STOPPED
    if not alive and len(table.published) == plan.shards and not table.waiting:
        state = FINISHED
    live = _live(_get(store, RunLayout.summary))
    return RunStatus(
        out=store.url,
        state=state,
        images=len(plan),
        steps=(record.settings.steps or 1) + (record.settings.noise_steps or 0),
        statuses=table.statuses(),
        shards=plan.shards,
        shards_published=len(table.published),
        saved=table.saved(log),
        holder=None if held is None else _holder(held),
        summary_age_s=None if live is None else live.age_s,
        live=live if live is not None and alive and live.age_s <= FRESH_S else None,
        slowest=table.slowest(),
        last_failures=table.last_failures(),
        deaths={
            plan.image_id(plan.unit_range(unit)[0]): n for unit, n in read_deaths(store).items() if unit < plan.units
        },
        command=record.resume_command(store.url),
    )


class Survey:
    """Holds what the rows contain, wherever they are. Image i of the plan is position i of every array.

    Attributes:
        failures: Status, error and time of images whose row is not ok, by image; of many, only the most recent ones.
        published: Shards in the table.
        waiting: Units whose rows are in the work log.
    """

    def __init__(self, plan: Plan) -> None:
        self._plan = plan
        # One byte an image, because there may be millions: 0 without a row, else 1 + the index in `_names`.
        self._status = np.zeros(len(plan), np.uint8)
        self._names = [STATUS_OK]
        self._seconds = np.full(len(plan), np.nan, np.float32)
        self.failures: dict[int, tuple[str, str, str]] = {}  # status, error, when
        self._failures_held = FAILURES_HELD
        self.published: set[int] = set()
        self.waiting: set[int] = set()  # units whose rows are in the work log

    def add(self, indices: Sequence[int], rows: pa.Table) -> None:
        """Take `rows` for images that have none yet, or none that is ok."""
        positions = np.asarray(indices, int)
        status = rows["status"].to_numpy()
        for name in dict.fromkeys(status.tolist()):
            if name not in self._names:
                self._names.append(name)
            self._status[positions[status == name]] = 1 + self._names.index(name)
        self._seconds[positions] = rows["seconds"].to_numpy()
        for index in self.failures.keys() & set(indices) if self.failures else ():
            del self.failures[index]
        bad = np.flatnonzero(~np.isin(status, NOT_FAILED))
        if not len(bad):
            return
        columns = rows.select(_COLUMNS).take(bad).to_pydict()
        for index, name, error_type, error, _, at in zip(positions[bad].tolist(), *columns.values(), strict=True):
            self.failures[index] = (name, f"{error_type}: {error}", at.isoformat(timespec="seconds"))
        if len(self.failures) > self._failures_held:
            self._drop_early_failures()

    def _drop_early_failures(self) -> None:
        """Drop failures but the latest, which are shown.

        Those of units in the work log stay: rows of a later try may replace them.
        """
        final = {i: facts for i, facts in self.failures.items() if self._plan.unit_of(i) not in self.waiting}
        for index in final.keys() - dict(_latest(final)).keys():
            del self.failures[index]
        self._failures_held = len(self.failures) + FAILURES_HELD

    def add_better(self, images: range, rows: pa.Table) -> None:
        """Take the rows of a later try for those of `images` that are not ok yet."""
        better = [position for position, image in enumerate(images) if self._status[image] != _OK]
        self.add([images[position] for position in better], rows.take(better))

    def is_ok(self, images: range) -> bool:
        """Return whether every one of the images has a row that is ok."""
        return bool((self._status[images.start : images.stop] == _OK).all())

    def statuses(self) -> dict[str, int]:
        """Return how many rows there are of each status."""
        # Not np.bincount, which converts each byte to eight.
        counts = [int(np.count_nonzero(self._status == 1 + position)) for position in range(len(self._names))]
        return {name: n for name, n in sorted(zip(self._names, counts, strict=True)) if n}

    def saved(self, log: WorkLog) -> int:
        """Return the number of units with a checkpoint and no rows."""
        units = (unit for unit in log.logged_checkpoints() if unit < self._plan.units)
        return sum(not self._status[self._plan.unit_range(unit).start] for unit in units)

    def slowest(self) -> list[Slow]:
        """Return the images that spent most time in a slot, the slowest first."""
        found: list[int] = []
        for start in range(0, len(self._seconds), _SORTED_AT_ONCE):
            part = self._seconds[start : start + _SORTED_AT_ONCE]
            # NaN, of images without a time, sorts last.
            found += (start + np.argsort(-part, kind="stable")[:NAMED]).tolist()
        timed = [index for index in found if np.isfinite(self._seconds[index])]
        timed.sort(key=lambda index: -self._seconds[index])
        return [Slow(self._plan.image_id(i), round(float(self._seconds[i]), 1)) for i in timed[:NAMED]]

    def last_failures(self) -> list[Failure]:
        """Return the most recent failures, newest first."""
        return [Failure(self._plan.image_id(index), *facts) for index, facts in _latest(self.failures)]


def _latest(failures: dict[int, tuple[str, str, str]]) -> list[tuple[int, tuple[str, str, str]]]:
    """Return the failures that are shown; of the same moment the first in the plan."""
    return sorted(sorted(failures.items()), key=lambda item: item[1][-1], reverse=True)[:NAMED]


def survey(store: Store, plan: Plan, log: WorkLog, report: Callable[[str], None] = lambda line: None) -> Survey:
    """Read every row that counts, while a driver may be at work; report damaged files, whose rows do not count.

    A shard is published before its rows are deleted from the work log. So the log is listed first and the shards after
    it: a row that was missed in the log is in a shard. One that vanishes before it can be read is in a shard then, too,
    and that shard is read (again).
    """
    table = Survey(plan)
    table.waiting = {unit for unit in log.logged_rows() if unit < plan.units}
    _add_shards(table, store, plan, _published(store, plan))
    # As in a resumed run: an ok row in a shard is kept; any other is replaced by a row of a later try.
    wanted = sorted(unit for unit in table.waiting if not table.is_ok(plan.unit_range(unit)))
    vanished, damaged = [], []
    for unit, rows in zip(wanted, map_ahead(lambda unit: _rows_or_fault(log, unit), wanted, ROW_READERS), strict=True):
        if isinstance(rows, pa.Table):
            table.add_better(plan.unit_range(unit), rows)
            continue
        vanished.append(unit)
        if rows is not None:
            damaged.append(rows)
    for fault in damaged[:NAMED]:
        report(f"{fault}; it counts as not done, a resumed run computes it again")
    if len(damaged) > NAMED:
        report(f"{len(damaged) - NAMED} more files of the work log are damaged")
    if vanished:
        table.waiting.difference_update(vanished)
        _add_shards(table, store, plan, _published(store, plan) & {plan.shard_of(unit) for unit in vanished})
    return table


def _rows_or_fault(log: WorkLog, unit: int) -> pa.Table | str | None:
    """Return the logged rows of a unit, or what is wrong with them; None if there are none any more."""
    try:
        return log.read_rows([unit])
    except RowsGoneError:
        return None
    except RowsDamagedError as error:
        return error.reasons[unit]


def _published(store: Store, plan: Plan) -> set[int]:
    keys = (info.key for info in store.list(RunLayout.shards_prefix))
    return {shard for shard in map(RunLayout.shard_index, keys) if shard is not None and shard < plan.shards}


def _add_shards(table: Survey, store: Store, plan: Plan, shards: set[int]) -> None:
    ordered = sorted(shards)
    found = map_ahead(lambda shard: read_shard(store, RunLayout.shard(shard), _COLUMNS), ordered, _SHARD_READERS)
    for shard, rows in zip(ordered, found, strict=True):
        indices = plan.shard_range(shard)
        if rows.num_rows != len(indices):
            uri = store.uri(RunLayout.shard(shard))
            raise StorageError(
                f"{uri!r} has {rows.num_rows} rows for {len(indices)} planned images; run i2s-batch verify"
            )
        table.add(indices, rows)
        table.published.add(shard)


def _record(store: Store) -> RunRecord:
    content = _get(store, RunLayout.run_json)
    if content is None:
        raise StorageError(f"{store.url!r} holds no run of i2s-batch (no run.json); give the OUT of an embed command")
    return RunRecord.decode(content, store.uri(RunLayout.run_json))


def _get(store: Store, key: str) -> bytes | None:
    try:
        return store.get(key)
    except ObjectNotFoundError:
        return None


def _holder(held: bytes) -> Holder:
    found = parse_holder(held)
    return Holder(*("unknown" if fact is None else str(fact) for fact in (found.host, found.pid, found.since)))


def _live(content: bytes | None) -> Live | None:
    """Return what summary.json holds; None if there is none of a run under way, or it is not ours."""
    if content is None:
        return None
    try:
        summary = load(json.loads(content), _Summary)
    except (ValueError, RecursionError):
        return None
    if summary.finished or summary.updated_at.tzinfo is None:
        return None
    age_s = (datetime.now(UTC) - summary.updated_at).total_seconds()
    # Clocks may disagree: an age below 0 means 0.
    return Live(max(0.0, round(age_s, 1)), **{each.name: getattr(summary, each.name) for each in fields(Live)[1:]})
