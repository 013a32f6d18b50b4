"""Finds the rows of a table that can be read: those in its shards, and those that only its work log holds.

The logged rows of a shard that is not published yet are presented as that shard: a Parquet file in memory, under the
key that the shard will have. So a reader of a table reads shards and nothing else. Nothing is written, and no lease is
taken: the run may be at work meanwhile, and a snapshot does not change with it.

Each image comes once: a shard in the table counts, whatever the log holds for it, as in a run that is resumed.
"""

from __future__ import annotations

import inspect
import threading
import warnings
from collections.abc import Iterable
from dataclasses import dataclass, replace
from pathlib import Path

from cachetools import LRUCache

from i2s_batch.errors import DamagedRowsWarning, ObjectNotFoundError, StorageError, UnfinishedRunWarning
from i2s_batch.output.layout import RunLayout
from i2s_batch.output.lease import is_holder_alive, is_on_this_machine
from i2s_batch.output.ownership import find_record
from i2s_batch.output.plan import Plan
from i2s_batch.output.run_record import RunRecord
from i2s_batch.output.work_log import RowsGoneError
from i2s_batch.parquet.row_groups import ReplacedError
from i2s_batch.storage import Store, is_remote, open_store
from i2s_batch.storage.overlaid import OverlaidStore
from i2s_batch.table.logged_shards import LoggedShards

NOT_OURS = "it was not written by i2s-batch; move it out of latents/"

_ATTEMPTS = 5  # a driver publishes a shard, and deletes its rows from the log, every few minutes at most
_PACKAGE = str(Path(__file__).parents[1])
_CACHED_BYTES = 256 << 20  # of rows in memory: of one shard of 1,000 latents of 18 x 512, 37 MB
# The keys whose objects determine what a snapshot holds; the log first, see `_take`.
_SEEN = (RunLayout.all_rows_prefix, RunLayout.shards_prefix, RunLayout.plan)


@dataclass(frozen=True)
class Unfinished:
    """Describes a table that lacks rows.

    Attributes:
        url: The output.
        images: The images of the plan.
        present: Those of them that have a row.
        running: Whether a driver seems to be at work.
    """

    url: str
    images: int
    present: int
    running: bool

    def __str__(self) -> str:
        count = f"{self.present} of {self.images} images are there"
        if self.running:
            return f"{self.url}: the run is in progress, {count}"
        return f"{self.url}: the run is not finished and no driver is at work, {count}; resume it to complete the table"


@dataclass(frozen=True)
class Snapshot:
    """Holds which shards of a table can be read, and how.

    Attributes:
        store: Gives the shards: those of the output, and those that are made of its work log.
        keys: Their keys, in order.
        held: Those that are made of the work log, by key: Parquet.
        unfinished: What is missing; None for a whole table, and for one without its plan, as after a copy of latents/.
        damaged: A line for each damaged file of the work log, whose rows are left out.
    """

    store: Store
    keys: tuple[str, ...]
    held: dict[str, bytes]
    unfinished: Unfinished | None
    damaged: tuple[str, ...] = ()

    @property
    def below(self) -> Store:
        """Return the store of the output itself."""
        return self.store.below if isinstance(self.store, OverlaidStore) else self.store


def open_snapshot(out: str, quiet: bool = False) -> Snapshot:
    """Return what can be read now of the table at `out`, a local path or s3://bucket/prefix.

    Args:
        out: The output of a run.
        quiet: Whether nothing is said of a table that lacks rows. Otherwise an `UnfinishedRunWarning` says how many
            there are, and a `DamagedRowsWarning` names files of the work log that are left out.

    Raises:
        StorageError: No such output, no row yet, or something in latents/ that is no shard.
    """
    snapshot = _take(open_store(out))
    if not quiet:
        if snapshot.unfinished is not None:
            warnings.warn(UnfinishedRunWarning(snapshot.unfinished), stacklevel=_level_of_caller())
        for line in snapshot.damaged:
            warnings.warn(line, DamagedRowsWarning, stacklevel=_level_of_caller())
    return snapshot


def _level_of_caller() -> int:
    """Return the stack level, for `warnings.warn` in the calling function, of whoever has called this package."""
    frame, level = inspect.currentframe(), 0
    while frame is not None and frame.f_code.co_filename.startswith(_PACKAGE):
        frame, level = frame.f_back, level + 1
    return level


def shard_keys(store: Store) -> list[str]:
    """Return the keys of the shards in a table, in order; StorageError for a file that is no shard."""
    return _checked(store, [info.key for info in store.list(RunLayout.shards_prefix)])


def existing_shards(store: Store) -> list[str]:
    """Return the keys of the shards in a table, in order, whatever its work log holds.

    Raises:
        StorageError: There is none.
    """
    keys = shard_keys(store)
    if not keys:
        raise StorageError(_why_no_shards(store))
    return keys


def _checked(store: Store, keys: Iterable[str]) -> list[str]:
    shards = [key for key in keys if key.endswith(".parquet")]
    for key in shards:
        if RunLayout.shard_index(key) is None:
            raise StorageError(f"{store.uri(key)!r} is not a shard of this table; {NOT_OURS}")
    return shards


def _why_no_shards(store: Store) -> str:
    rows = sum(RunLayout.row_index(info.key) is not None for info in store.list(RunLayout.all_rows_prefix))
    if rows or any(info.key == RunLayout.run_json for info in store.list(RunLayout.run_json)):
        return (
            f"{store.url!r} is an unfinished run without a shard yet ({rows} rows in its work log); "
            "run its embed command again to resume it"
        )
    if not is_remote(store.url) and not Path(store.url).exists():
        return f"{store.url!r} does not exist, so it holds no output of i2s-batch; give the OUT of a run"
    return f"{store.url!r} holds no output of i2s-batch; give the OUT of an embed run"


# A listing of what determines a snapshot: the keys and sizes of the objects below each of `_SEEN`.
_Listing = tuple[tuple[tuple[str, int], ...], ...]


class _Cache:
    """Keeps the most recent snapshots that hold rows in memory: one command opens the same table several times."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._found: LRUCache[str, tuple[_Listing, RunRecord, Snapshot]] = LRUCache(_CACHED_BYTES, getsizeof=_size)

    def get(self, url: str, listing: _Listing, record: RunRecord) -> Snapshot | None:
        """Return the snapshot of an output in which nothing has changed since; None if there is none."""
        with self._lock:
            found = self._found.get(url)
        return found[2] if found is not None and found[:2] == (listing, record) else None

    def put(self, listing: _Listing, record: RunRecord, snapshot: Snapshot) -> None:
        """Keep a snapshot. One with damaged files is not kept: they may be written again in the same size."""
        entry = (listing, record, snapshot)
        if snapshot.held and not snapshot.damaged and _size(entry) <= _CACHED_BYTES:
            with self._lock:
                self._found[snapshot.store.url] = entry


def _size(entry: tuple[_Listing, RunRecord, Snapshot]) -> int:
    return sum(map(len, entry[2].held.values()))


_cache = _Cache()


def _take(store: Store) -> Snapshot:
    """Return what can be read of a table while a driver may be at work.

    A shard is published before its rows are deleted from the work log. So the log is listed first and the shards after
    it: a row that is missed in the log is in a shard. One that vanishes before it can be read is in a shard then, too,
    and everything is looked at again.
    """
    for _ in range(_ATTEMPTS):
        listing: _Listing = tuple(_listed(store, prefix) for prefix in _SEEN)
        keys = _checked(store, [key for key, _ in listing[1]])
        record = _record(store, needed=not keys)
        if record is None:
            return Snapshot(store, tuple(keys), {}, None)
        if (cached := _cache.get(store.url, listing, record)) is not None:
            return _as_now(cached, store)
        try:
            plan = Plan.load(store, record.shard_size)
            units = sorted(unit for key, _ in listing[0] if (unit := RunLayout.row_index(key)) is not None)
            logged = LoggedShards(store, record, plan)
            held = logged.shards(units, _published(plan, keys))
            snapshot = _snapshot(store, plan, keys, held, logged)
        except (RowsGoneError, ReplacedError):
            continue  # a driver has published a shard, or added images to the plan
        except StorageError as error:
            if not keys:
                raise
            # Whatever has become of the plan, the shards are valid.
            lost = (f"{error}; what the work log holds is left out",) if listing[0] else ()
            return Snapshot(store, tuple(keys), {}, None, lost)
        if not snapshot.keys:
            none = f"{store.url!r} holds a run of which no image is done yet; i2s-batch status {store.url} shows more"
            raise StorageError("; ".join([none, *snapshot.damaged]))
        _cache.put(listing, record, snapshot)
        return _as_now(snapshot, store)
    raise StorageError(f"{store.url!r} changed {_ATTEMPTS} times while it was read; run the same command again")


def _snapshot(store: Store, plan: Plan, keys: list[str], held: dict[str, bytes], logged: LoggedShards) -> Snapshot:
    """Return the snapshot of a table with the shards `keys`, and those that are `held` of its work log."""
    present = logged.rows + sum(len(plan.shard_range(shard)) for shard in _published(plan, keys))
    unfinished = None
    if present < len(plan):
        unfinished = Unfinished(store.url, len(plan), present, running=False)
    readable = tuple(sorted({*keys, *held}, key=str.encode))
    return Snapshot(OverlaidStore(store, held), readable, held, unfinished, tuple(logged.damaged_lines()))


def _published(plan: Plan, keys: Iterable[str]) -> set[int]:
    """Return the shards of a plan that are in the table, by their keys."""
    indices = map(RunLayout.shard_index, keys)
    return {shard for shard in indices if shard is not None and shard < plan.shards}


def _listed(store: Store, prefix: str) -> tuple[tuple[str, int], ...]:
    """Return the keys and sizes below a prefix; none where only the table itself may be listed."""
    try:
        return tuple((info.key, info.size) for info in store.list(prefix))
    except StorageError:
        if prefix == RunLayout.shards_prefix:
            raise
        return ()


def _record(store: Store, needed: bool) -> RunRecord | None:
    """Return the record of the run; None if there is none that can be read, though the table can: not `needed`."""
    try:
        record = find_record(store)
    except StorageError:
        if needed:
            raise
        return None
    if record is None and needed:
        raise StorageError(_why_no_shards(store))
    return record


def _as_now(snapshot: Snapshot, store: Store) -> Snapshot:
    """Return the snapshot with whether a driver is at work now."""
    if snapshot.unfinished is None:
        return snapshot
    return replace(snapshot, unfinished=replace(snapshot.unfinished, running=_seems_running(store)))


def _seems_running(store: Store) -> bool:
    """Return whether a driver holds the output; of one on another machine its lease is believed, without a wait."""
    try:
        held = store.get(RunLayout.lease)
    except ObjectNotFoundError:
        return False
    return not is_on_this_machine(held) or is_holder_alive(store, RunLayout.lease, held)
