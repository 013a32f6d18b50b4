"""Merges several runs of the same settings and networks into one: their rows in one table, each image once."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from itertools import chain

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from cachetools import LRUCache

from i2s_batch.errors import ObjectNotFoundError, RunConflictError, StorageError
from i2s_batch.maintenance.merged_noise import MergedNoise
from i2s_batch.maintenance.upgrading import upgraded
from i2s_batch.output.layout import RunLayout
from i2s_batch.output.lease import Lease
from i2s_batch.output.ownership import claim
from i2s_batch.output.plan import Plan
from i2s_batch.output.publication import present_shard, publish_shard
from i2s_batch.output.run_record import RunRecord
from i2s_batch.output.run_summary import MergedSummary
from i2s_batch.output.same_run import check_same_run
from i2s_batch.parquet.sorted_rows import SpilledRows, in_groups, merged, spilled
from i2s_batch.plurals import counted
from i2s_batch.schema.columns import COLUMNS, STATUS_OK
from i2s_batch.storage import Store, open_store
from i2s_batch.table.shards import read_shard
from i2s_batch.table.snapshot import existing_shards

# Shards of the merged runs that are cached, some 30 MB each. All are sorted, so that they are needed in turn, and each
# is fetched with one request.
_CACHED_SHARDS = 8
_JUDGED_BY = ["image_id", "status", "sha256", "loss"]
_RANKED_BY = [*_JUDGED_BY, "run"]

# Where the row of an image is.
_LOCATION = pa.schema([("image_id", pa.string()), ("run", pa.int32()), ("shard", pa.int32()), ("row", pa.int32())])


def merge_runs(
    outs: Sequence[str], new: str, report: Callable[[str], None], prefixes: Sequence[str] = ()
) -> MergedSummary:
    """Write the rows of the finished runs at `outs` into a run at `new`; return the merged run's summary.

    An image that several runs hold comes once: the row that is ok before one that is not, then the one with the
    lower loss, then that of the run named first. May be run again.

    Args:
        outs: The runs.
        new: The output of the merged run.
        report: Takes lines for people.
        prefixes: A text for each run, which is put in front of its ids; none leaves all ids as they are.

    Raises:
        RunConflictError: The runs differ in settings or networks, or hold different images under one id.
        StorageError: A run is not finished.
    """
    stores = [open_store(out) for out in outs]
    records, plans = zip(*map(_finished, stores), strict=True)
    for store, record in zip(stores[1:], records[1:], strict=True):
        check_same_run(
            records[0],
            replace(record, source=records[0].source, source_now=records[0].source_now),
            stores[0].url,
            other=store.url,
        )
    given = tuple(prefixes) or ("",) * len(outs)
    chosen = spilled(_chosen(stores, plans, given), _LOCATION)
    target, merged_record = open_store(new), _merged_record(stores, records, given)
    _check_free(target, merged_record)  # before anything is written, and again under the lease
    doubled = sum(map(len, plans)) - chosen.num_rows
    images, rows = counted(chosen.num_rows, "image"), counted(doubled, "row is", "rows are")
    report(f"{images} of {len(outs)} runs; {rows} of images that another run holds too")
    target.check_writable()
    lease = Lease(target, RunLayout.lease)
    lease.acquire()
    try:
        has_noise = bool(merged_record.settings.noise_steps)
        noise = MergedNoise(stores, given, target, merged_record, lease.confirm) if has_noise else None
        return _write(target, merged_record, chosen, _Shards(stores, records, given), lease, noise)
    finally:
        lease.release()


def _finished(store: Store) -> tuple[RunRecord, Plan]:
    """Return the record and the plan of a run that has all its rows."""
    try:
        record = RunRecord.decode(store.get(RunLayout.run_json), store.uri(RunLayout.run_json))
    except ObjectNotFoundError as error:
        raise StorageError(f"{store.url} holds no run of i2s-batch (no run.json); give outputs of embed") from error
    if record.is_edit:
        raise RunConflictError(f"{store.url} holds edits; give outputs of embed, and edit the merged table")
    plan = Plan.load(store, record.shard_size)
    shard_count = len(existing_shards(store))
    waiting = next((info for info in store.list(RunLayout.all_rows_prefix)), None)
    if shard_count < plan.shards or waiting is not None:
        raise StorageError(
            f"{store.url} is not finished ({shard_count} of {plan.shards} shards); run its command again first"
        )
    return record, plan


def _merged_record(stores: Sequence[Store], records: Sequence[RunRecord], prefixes: Sequence[str]) -> RunRecord:
    """Return the first run's record, with the sources of all."""
    sources = " + ".join(dict.fromkeys(str(record.source) for record in records))
    moves = tuple(dict.fromkeys(pair for record in records for pair in record.moved))
    named = zip(prefixes, stores, strict=True)
    merged = records[0].merged_with(sources, tuple(f"{prefix}={s.url}" if prefix else s.url for prefix, s in named))
    return replace(merged, moved=moves)


def _chosen(stores: Sequence[Store], plans: Sequence[Plan], prefixes: Sequence[str]) -> Iterator[pa.Table]:
    """Yield where the row of each image is, one an image, sorted by id.

    Only some thousand of all rows are in memory: those of each generation of a run are sorted already.
    """
    streams = [
        _prefixed(_judged(store, plan, run, shards), prefixes[run])
        for run, (store, plan) in enumerate(zip(stores, plans, strict=True))
        for shards in plan.generation_shards()
    ]
    for rows in merged(streams):
        best = rows
        ids = rows["image_id"].combine_chunks()
        new = np.concatenate([[True], pc.not_equal(ids[1:], ids[:-1]).to_numpy(zero_copy_only=False)])
        if not new.all():
            starts = np.flatnonzero(new)
            groups = zip(starts, [*starts[1:], len(rows)], strict=True)
            found = [_Candidate(*values) for values in zip(*rows.select(_RANKED_BY).to_pydict().values(), strict=True)]
            best = rows.take([start + _best(found[start:stop], stores) for start, stop in groups])
        yield best.select(_LOCATION.names)


def _prefixed(parts: Iterator[pa.Table], prefix: str) -> Iterator[pa.Table]:
    """Yield rows with a prefix in front of their ids, which leaves the order of one run as it is."""
    for rows in parts:
        yield (
            rows.set_column(0, "image_id", pc.binary_join_element_wise(prefix, rows["image_id"], ""))
            if prefix
            else rows
        )


def _judged(store: Store, plan: Plan, run: int, shards: range) -> Iterator[pa.Table]:
    """Yield the columns that decide between rows of one image, and where the rows are; sorted."""
    last = ""
    for shard in shards:
        key = RunLayout.shard(shard)
        rows = read_shard(store, key, _JUDGED_BY).replace_schema_metadata(None)
        ids = rows["image_id"].combine_chunks()
        in_order = pc.all(pc.less(ids[:-1], ids[1:]), min_count=0).as_py()
        if len(ids) != len(plan.shard_range(shard)) or not in_order or ids[0].as_py() <= last:
            raise StorageError(f"{store.uri(key)!r} does not hold the rows that are planned; run i2s-batch verify")
        last = ids[-1].as_py()
        where = {"run": np.full(len(ids), run), "shard": np.full(len(ids), shard), "row": np.arange(len(ids))}
        for name, values in where.items():
            rows = rows.append_column(_LOCATION.field(name), pa.array(values, _LOCATION.field(name).type))
        yield rows


@dataclass(frozen=True)
class _Candidate:
    """Holds what decides between rows of one image."""

    image_id: str
    status: str
    sha256: str | None
    loss: float | None
    run: int


def _best(found: Sequence[_Candidate], stores: Sequence[Store]) -> int:
    """Return the index of the row that is kept among those of one image, which come in the order of the runs."""
    whole = [row for row in found if row.status == STATUS_OK]
    for row in whole[1:]:
        if row.sha256 != whole[0].sha256:
            hashes = " and ".join(f"{str(one.sha256)[:12]}..." for one in (whole[0], row))
            raise RunConflictError(
                f"{row.image_id!r} is one image in {stores[whole[0].run].url} and another in "
                f"{stores[row.run].url} (their sha256 are {hashes}); to keep both, give a prefix "
                "for the ids of each run (--prefix one/ --prefix two/)"
            )

    def rank(index: int) -> tuple[bool, float]:
        row = found[index]
        return row.status != STATUS_OK, np.inf if row.loss is None else row.loss

    return min(range(len(found)), key=rank)


class _Shards:
    """Reads rows of the runs by location."""

    def __init__(self, stores: Sequence[Store], records: Sequence[RunRecord], prefixes: Sequence[str]) -> None:
        self._stores, self._records, self._prefixes = stores, records, prefixes
        self._cache: LRUCache[tuple[int, int], pa.Table] = LRUCache(_CACHED_SHARDS)

    def rows(self, locations: pa.Table) -> pa.Table:
        """Return the rows at `locations`, in some order."""
        by_shard: dict[tuple[int, int], list[int]] = {}
        for run, shard, row_number in zip(*locations.select(["run", "shard", "row"]).to_pydict().values(), strict=True):
            by_shard.setdefault((run, shard), []).append(row_number)
        parts = [self._shard(*key).take(found) for key, found in by_shard.items()]
        for part, (run, _) in zip(parts[1:], list(by_shard)[1:], strict=True):
            if not part.schema.equals(parts[0].schema):
                names = [sorted(set(p.column_names) - _table_columns()) for p in (parts[0], part)]
                urls = [self._stores[number].url for number in (next(iter(by_shard))[0], run)]
                raise RunConflictError(
                    f"{urls[0]} has the extra columns {names[0]}, {urls[1]} has {names[1]}; only runs with the same "
                    f"columns can be merged"
                )
        return pa.concat_tables(parts)

    def _shard(self, run: int, shard: int) -> pa.Table:
        rows = self._cache.get((run, shard))
        if rows is None:
            stored = read_shard(self._stores[run], RunLayout.shard(shard))
            rows = self._cache[run, shard] = upgraded(stored, self._records[run], self._prefixes[run])
        return rows


def _write(
    target: Store,
    record: RunRecord,
    chosen: SpilledRows,
    shards: _Shards,
    lease: Lease,
    noise: MergedNoise | None,
) -> MergedSummary:
    """Write the record first, then the shards, each whole; then the plan, and the summary."""
    _check_free(target, record)
    size = record.shard_size
    metadata = record.table_metadata()
    statuses: Counter[str] = Counter()
    target.put(RunLayout.run_json, record.encode())

    def planned() -> Iterator[pa.Table]:
        for shard, locations in enumerate(in_groups(chosen.parts(), size)):
            rows = shards.rows(locations).sort_by("image_id")
            statuses.update(rows["status"].to_pylist())
            if noise is not None:
                noise.write(shard, rows, locations)
            if not publish_shard(target, shard, rows, metadata, present_shard(target, shard), lease.confirm):
                raise RunConflictError(
                    f"{target.uri(RunLayout.shard(shard))} changed while it was written; merge again"
                )
            yield rows.select(
                [name for name in rows.column_names if name in ("image_id", "uri") or name not in _table_columns()]
            )

    parts = planned()
    first = next(parts)
    Plan(spilled(chain([first], parts), first.schema), size).save(target)
    summary = MergedSummary(
        finished=True,
        updated_at=datetime.now(UTC).isoformat(timespec="seconds"),
        images=chosen.num_rows,
        done=chosen.num_rows,
        statuses=dict(sorted(statuses.items())),
        merged=record.merged or (),
    )
    target.put(RunLayout.summary, summary.encode())
    return summary


def _check_free(target: Store, record: RunRecord) -> None:
    """Raise RunConflictError unless NEW is free, or holds an interrupted merge of the same runs."""
    existing = claim(target)
    if existing is not None and existing.merged != record.merged:
        raise RunConflictError(f"{target.url} holds another run already; give another NEW")


def _table_columns() -> set[str]:
    """Return the names of the columns that every table has."""
    return {column.name for column in COLUMNS}
