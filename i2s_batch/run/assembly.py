"""Assembles shards from the work log: a shard is published whole when all its rows exist."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import Future, ThreadPoolExecutor

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from i2s_batch.errors import StorageError
from i2s_batch.output.archives.image_log import Pack
from i2s_batch.output.archives.writing import ArchiveWriter, packs_of
from i2s_batch.output.layout import RunLayout
from i2s_batch.output.logged_rows import planned_rows, with_planned_columns
from i2s_batch.output.noise_shards import NoiseShards
from i2s_batch.output.plan import Plan
from i2s_batch.output.publication import publish_shard
from i2s_batch.output.run_state import RunState
from i2s_batch.output.work_log import RowsDamagedError, RowsGoneError, WorkLog
from i2s_batch.schema.columns import STATUS_OK
from i2s_batch.storage import Store
from i2s_batch.table.shards import parse_shard, read_shard, read_statuses


class Assembler:
    """Publishes shards of the run at `store`. Publishing twice is harmless.

    `confirm` raises if this driver no longer holds the output (`Lease.confirm`). It is called before anything is
    written or deleted; and a shard is written only over what it was made from, so that not even a driver that is
    suspended between the two, and continues much later, can undo the work of another.
    """

    def __init__(
        self,
        store: Store,
        plan: Plan,
        log: WorkLog,
        metadata: dict[str, str],
        confirm: Callable[[], None],
        archives: ArchiveWriter | None = None,
        noise: NoiseShards | None = None,
    ) -> None:
        """Publish with the file metadata `metadata`.

        `archives`: where the images of the rows go, None for files; `noise`: where their noise maps go, None without.
        """
        self._store, self._plan, self._log, self._metadata, self._confirm = store, plan, log, metadata, confirm
        self._archives, self._noise = archives, noise

    def published(self, shard: int, columns: list[str] | None = None) -> pa.Table:
        """Return the rows of a shard that is already in the table, in the plan's order; `columns`: None for all."""
        return read_shard(self._store, RunLayout.shard(shard), columns)

    def statuses(self, shard: int) -> np.ndarray:
        """Return the status of each row of a shard that is already in the table: object [images of the shard]."""
        found = read_statuses(self._store, RunLayout.shard(shard))
        planned = len(self._plan.shard_range(shard))
        if len(found) != planned:
            uri = self._store.uri(RunLayout.shard(shard))
            raise StorageError(f"{uri!r} has {len(found)} rows for {planned} planned images; run i2s-batch verify")
        return found

    def mark_vanished(self, shard: int, vanished_at: pa.Array | None) -> int:
        """Write a published shard with another column `vanished_at`, if given; return the number of marked rows."""
        if vanished_at is None:
            return 0
        present, rows = self._read_shard(shard)
        position = rows.schema.get_field_index("vanished_at")
        marked = rows.set_column(position, rows.schema.field(position), vanished_at)
        if not self._put(shard, marked, present):
            raise StorageError(
                f"{self._store.uri(RunLayout.shard(shard))!r} changed while it was marked; run the same command again"
            )
        return len(vanished_at) - int(vanished_at.null_count)

    def publish(self, shard: int, logged: Iterable[int], exists: bool) -> None:
        """Write a shard from the `logged` rows and, if it `exists`, its present rows; then delete the logged rows.

        The archive of its images, where there is one, is written before it.

        An ok row is never replaced by one that is not. A shard that has all rows already, because a driver ended before
        it deleted the logged ones, stays as it is.
        """
        logged = sorted(logged)
        images = self._plan.shard_images(shard)
        try:
            rows = planned_rows(self._log, self._plan, logged)
        except RowsGoneError:
            self._confirm()  # the likely reason is a lost lease, whose error is clearer
            raise
        packs = {} if self._archives is None else packs_of(self._plan, logged, rows)
        present, old = self._read_shard(shard) if exists else (None, None)
        new_rows = rows
        if old is not None:
            old_rows = old.select(rows.column_names).cast(rows.schema)
            new_rows = self._without_kept(old_rows, rows)
            rows = self._merged(old_rows, new_rows)
        if rows.column("image_id").to_pylist() != images.column("image_id").to_pylist():
            raise StorageError(
                f"{self._store.url}: shard {shard} would have {rows.num_rows} rows for {images.num_rows} planned "
                f"images, or other ids; the work log is damaged, run with another OUT"
            )
        rows = with_planned_columns(rows, images)
        if self._noise is not None:
            ok = new_rows["image_id"].filter(pc.equal(new_rows["status"], STATUS_OK)).to_pylist()
            units = dict(zip(images["image_id"].to_pylist(), self._plan.units_of(shard), strict=True))
            self._noise.publish(shard, rows, {image_id: units[image_id] for image_id in ok})
        complete = old is not None and rows.equals(old.select(rows.column_names).cast(rows.schema))
        if self._archives is not None and (not complete or self._archives.missing([shard])):
            self._write_archive(self._archives, shard, rows, packs, old)
        if not complete and not self._put(shard, rows, present):
            # The shard has changed: an earlier driver's last write came late. Start again from the present shard.
            self.publish(shard, logged, exists=True)
            return
        self._confirm()
        self._log.delete_rows(logged)
        if self._noise is not None:
            self._noise.delete_logged(logged)
        if self._archives is not None:
            self._archives.delete_packs(packs)

    def _write_archive(
        self, archives: ArchiveWriter, shard: int, rows: pa.Table, packs: Mapping[int, Pack], old: pa.Table | None
    ) -> None:
        """Write the archive of a shard; units whose images are damaged count as not done from then on."""
        try:
            archives.write(self._plan, shard, rows, packs, old, self._confirm)
        except RowsDamagedError as error:
            self._confirm()
            self._log.delete_rows(error.reasons)
            raise

    def _read_shard(self, shard: int) -> tuple[bytes, pa.Table]:
        """Return a shard in the table: its bytes and its rows."""
        key = RunLayout.shard(shard)
        data = self._store.get(key)
        return data, parse_shard(data, self._store.uri(key))

    def _put(self, shard: int, rows: pa.Table, present: bytes | None) -> bool:
        """Write a shard in place of `present` (None: nothing); return False if there is something else."""
        return publish_shard(self._store, shard, rows, self._metadata, present, self._confirm)

    @staticmethod
    def _without_kept(old: pa.Table, new: pa.Table) -> pa.Table:
        """Return the rows of `new` without those of images that have an ok row of the same bytes in `old`.

        Such a row is not replaced: it was computed twice.
        """
        kept = set(_images_and_hashes(old.filter(pc.equal(old.column("status"), STATUS_OK))))
        return new.filter(pa.array([image not in kept for image in _images_and_hashes(new)], pa.bool_()))

    @staticmethod
    def _merged(old: pa.Table, new: pa.Table) -> pa.Table:
        """Return one row an image, sorted by id: of `old` and `new`, the ok one, and `new` where both or none is."""
        both = pa.concat_tables([new, old])
        worse = pc.cast(pc.not_equal(both.column("status"), STATUS_OK), pa.int8())
        older = pa.array(np.repeat(np.array([0, 1], np.int8), [new.num_rows, old.num_rows]))
        keys = pa.table({"id": both.column("image_id"), "worse": worse, "older": older})
        order = pc.sort_indices(keys, sort_keys=[(name, "ascending") for name in ("id", "worse", "older")])
        ranked = both.take(order)
        ids = ranked.column("image_id").to_pylist()
        first = [position for position, image_id in enumerate(ids) if position == 0 or image_id != ids[position - 1]]
        return ranked.take(pa.array(first))


def _images_and_hashes(rows: pa.Table) -> list[tuple[str, str]]:
    """Return the images of rows and the hashes of their bytes."""
    return list(zip(rows.column("image_id").to_pylist(), rows.column("sha256").to_pylist(), strict=True))


class Publisher:
    """Publishes, in a thread, every shard that has all its rows; an error is raised by `check` or `finish`."""

    def __init__(self, assembler: Assembler, plan: Plan, state: RunState) -> None:
        self._assembler, self._plan, self._state = assembler, plan, state
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="publish")
        self._publishing: list[Future[None]] = []
        ranges = [plan.units_of(shard) for shard in range(plan.shards)]
        self._missing = [int(np.count_nonzero(~state.done[r.start : r.stop])) for r in ranges]
        for shard in sorted(state.logged):
            self._publish_if_complete(shard)

    def logged(self, index: int) -> None:
        """Record that the rows of a unit are in the log."""
        shard = self._plan.shard_of(index)
        self._state.logged.setdefault(shard, set()).add(index)
        self._missing[shard] -= 1
        self._publish_if_complete(shard)

    def check(self) -> None:
        """Raise what went wrong so far."""
        done = [future for future in self._publishing if future.done()]
        self._publishing = [future for future in self._publishing if not future.done()]
        for future in done:
            future.result()

    def finish(self) -> None:
        """Wait until everything is published."""
        for future in self._publishing:
            future.result()

    def close(self) -> None:
        """End the thread; a shard that is being written is completed."""
        self._thread.shutdown(cancel_futures=True)

    def _publish_if_complete(self, shard: int) -> None:
        """Publish a shard that has all its rows and is not in the table yet, or has newer rows in the log."""
        if self._missing[shard] or not self._state.logged.get(shard):
            return
        logged = self._state.logged.pop(shard)
        exists = shard in self._state.published
        self._state.published.add(shard)
        self._publishing.append(self._thread.submit(self._assembler.publish, shard, logged, exists))
