"""Several runs of the same settings and networks as one: their rows in one table, each image once."""

from __future__ import annotations

import json
from collections import Counter, OrderedDict
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime, timezone
from typing import Any

import numpy as np
import pyarrow as pa

from i2s_batch.errors import ObjectNotFoundError, RunConflictError, StorageError
from i2s_batch.records import COLUMNS, STATUS_OK
from i2s_batch.runtime.lease import Lease
from i2s_batch.runtime.plan import Plan
from i2s_batch.runtime.run_record import CHECKSUMS, check_same_run, parse_record, table_metadata
from i2s_batch.storage.layout import RunLayout
from i2s_batch.storage.objects import Store, open_store
from i2s_batch.storage.publication import present_shard, publish_shard
from i2s_batch.storage.read import existing_shards, read_shard

# Shards of the merged runs kept in memory, some 30 MB each. All are sorted, so that they are needed in turn.
_CACHED_SHARDS = 8
_JUDGED_BY = ["image_id", "status", "sha256", "loss"]
_OWN = {column.name for column in COLUMNS}


@dataclass(frozen=True)
class _Row:
    """Where a row lies, and what decides between it and another of the same image."""

    run: int
    shard: int
    place: int
    status: str
    sha256: str | None
    loss: float | None


def merge_runs(outs: Sequence[str], new: str, say: Callable[[str], None]) -> dict[str, Any]:
    """Write the rows of the finished runs at `outs` into a run at `new`; the merged run's summary.

    An image that several runs hold comes once: the row that is ok before one that is not, then the one with the
    lower loss, then that of the run named first. Raises RunConflictError if the runs differ in settings or
    networks, or hold different pictures under one id; StorageError if one is not finished. May be run again.
    """
    stores = [open_store(out) for out in outs]
    records = [_finished_record(store) for store in stores]
    for store, record in zip(stores[1:], records[1:], strict=True):
        check_same_run(records[0], record | {"source": records[0]["source"]}, stores[0].url, other=store.url)
    chosen, doubled = _chosen(stores)
    say(f"{len(chosen)} images of {len(outs)} runs; {doubled} rows are of images that another run holds too")
    target = open_store(new)
    target.check_writable()
    lease = Lease(target, RunLayout.lease)
    lease.acquire()
    try:
        return _write(target, _merged_record(stores, records), chosen, _Shards(stores), lease)
    finally:
        lease.release()


def _finished_record(store: Store) -> dict[str, Any]:
    try:
        record = parse_record(store.get(RunLayout.run_json), store.uri(RunLayout.run_json))
    except ObjectNotFoundError as error:
        raise StorageError(f"{store.url} holds no run of i2s-batch (no run.json); give outputs of embed") from error
    if isinstance(record["source"], list):
        raise RunConflictError(f"{store.url} holds edits; give outputs of embed, and edit the merged table")
    plan = Plan.load(store, record["settings"]["shard_size"])
    there = len(existing_shards(store))
    waiting = next((info for info in store.list(RunLayout.all_rows_prefix)), None)
    if there < plan.shards or waiting is not None:
        raise StorageError(
            f"{store.url} is not finished ({there} of {plan.shards} shards); run its command again first"
        )
    return record


def _merged_record(stores: list[Store], records: list[dict[str, Any]]) -> dict[str, Any]:
    """The first run's record, with where the others came from; no command goes on with it."""
    sources = " + ".join(dict.fromkeys(record["source"] for record in records))
    made = {"created_at": datetime.now(timezone.utc).isoformat(timespec="seconds"), "command": None}
    merged = {"source": sources, "merged": [store.url for store in stores], "checksums": CHECKSUMS}
    return records[0] | made | merged


def _chosen(stores: list[Store]) -> tuple[dict[str, _Row], int]:
    """One row an image, and how many there are beside."""
    chosen: dict[str, _Row] = {}
    doubled = 0
    for run, store in enumerate(stores):
        for key in existing_shards(store):
            shard = RunLayout.shard_index(key) or 0
            columns = read_shard(store, key, _JUDGED_BY).to_pydict()
            for place, (image_id, *facts) in enumerate(zip(*columns.values(), strict=True)):
                row = _Row(run, shard, place, *facts)
                before = chosen.setdefault(image_id, row)
                if before is not row:
                    doubled += 1
                    chosen[image_id] = _better(image_id, before, row, stores)
    return chosen, doubled


def _better(image_id: str, first: _Row, second: _Row, stores: list[Store]) -> _Row:
    if first.status == second.status == STATUS_OK and first.sha256 != second.sha256:
        raise RunConflictError(
            f"{image_id!r} is one picture in {stores[first.run].url} and another in {stores[second.run].url} (their "
            f"sha256 are {str(first.sha256)[:12]}... and {str(second.sha256)[:12]}...); rename one and embed it anew"
        )

    def rank(row: _Row) -> tuple[bool, float, int]:
        return row.status != STATUS_OK, np.inf if row.loss is None else row.loss, row.run

    return min(first, second, key=rank)


class _Shards:
    """Rows of the runs by place."""

    def __init__(self, stores: list[Store]) -> None:
        self._stores = stores
        self._cache: OrderedDict[tuple[int, int], pa.Table] = OrderedDict()

    def rows(self, places: list[_Row]) -> pa.Table:
        """The rows at `places`, in some order."""
        by_shard: dict[tuple[int, int], list[int]] = {}
        for row in places:
            by_shard.setdefault((row.run, row.shard), []).append(row.place)
        parts = [self._shard(*key).take(found) for key, found in by_shard.items()]
        for part, (run, _) in zip(parts[1:], list(by_shard)[1:], strict=True):
            if not part.schema.equals(parts[0].schema):
                names = [sorted(set(p.column_names) - _OWN) for p in (parts[0], part)]
                urls = [self._stores[number].url for number in (next(iter(by_shard))[0], run)]
                raise RunConflictError(
                    f"{urls[0]} carries the columns {names[0]}, {urls[1]} carries {names[1]}; only runs with the same "
                    f"columns can be merged"
                )
        return pa.concat_tables(parts).replace_schema_metadata(None)

    def _shard(self, run: int, shard: int) -> pa.Table:
        key = (run, shard)
        if key not in self._cache:
            self._cache[key] = read_shard(self._stores[run], RunLayout.shard(shard))
            if len(self._cache) > _CACHED_SHARDS:
                self._cache.popitem(last=False)
        self._cache.move_to_end(key)
        return self._cache[key]


def _write(
    target: Store, record: dict[str, Any], chosen: dict[str, _Row], shards: _Shards, lease: Lease
) -> dict[str, Any]:
    """The plan and the record first, as any run has them; then the shards, each whole; then the summary."""
    _check_free(target, record)
    ids = sorted(chosen, key=lambda image_id: image_id.encode("utf-8"))
    size = record["settings"]["shard_size"]
    metadata = table_metadata(record)
    planned: list[pa.Table] = []
    statuses: Counter[str] = Counter()
    target.put(RunLayout.run_json, json.dumps(record, indent=2).encode())
    for shard, start in enumerate(range(0, len(ids), size)):
        rows = shards.rows([chosen[image_id] for image_id in ids[start : start + size]]).sort_by("image_id")
        planned.append(
            rows.select([name for name in rows.column_names if name in ("image_id", "uri") or name not in _OWN])
        )
        statuses.update(rows["status"].to_pylist())
        if not publish_shard(target, shard, rows, metadata, present_shard(target, shard), lease.confirm):
            raise RunConflictError(f"{target.uri(RunLayout.shard(shard))} changed while it was written; merge again")
    Plan(pa.concat_tables(planned).combine_chunks(), size).save(target)
    summary = {
        "finished": True,
        "updated_at": datetime.now(timezone.utc).isoformat(timespec="seconds"),
        "images": len(ids),
        "done": len(ids),
        "statuses": dict(sorted(statuses.items())),
        "merged": record["merged"],
    }
    target.put(RunLayout.summary, json.dumps(summary, indent=2).encode())
    return summary


def _check_free(target: Store, record: dict[str, Any]) -> None:
    """NEW is empty, or holds what an interrupted merge of the same runs has left."""
    try:
        existing = parse_record(target.get(RunLayout.run_json), target.uri(RunLayout.run_json))
    except ObjectNotFoundError:
        if next(target.list(RunLayout.shards_prefix), None) is not None:
            raise RunConflictError(f"{target.url} holds a table already; give another NEW") from None
        return
    if existing.get("merged") != record["merged"]:
        raise RunConflictError(f"{target.url} holds another run already; give another NEW")
