"""The work log: rows of finished units and checkpoints of pictures in flight, durable as they happen.

Keys follow from the unit's place in the plan, so that writing twice is harmless.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

import pyarrow as pa

from i2s_batch.errors import ObjectNotFoundError, StorageError
from i2s_batch.records import STATUS_OK, Finished, Task
from i2s_batch.storage.layout import RunLayout
from i2s_batch.storage.objects import open_store
from i2s_batch.storage.tables.table import decode_rows, encode_rows, table_schema

if TYPE_CHECKING:
    from i2s_batch.inversion import SlotState

_READERS = 8  # objects fetched at once


class RowsGoneError(ObjectNotFoundError):
    """Rows that were in the log are there no more: a driver that was stopped while it forgot the rows of a shard lost
    its lease, and went on."""


class WorkLog:
    """Reads and writes the log of the run at `out`; `latent_size` is L * w_dim."""

    def __init__(self, out: str, latent_size: int) -> None:
        self._store = open_store(out)
        self._schema = table_schema(latent_size)
        self._checkpointed: set[int] = set()

    def write_rows(self, task: Task, rows: list[dict[str, Any]]) -> Finished:
        """Make the rows of a finished unit, one for each of its images, durable; its checkpoint is no longer
        needed. Rows that are not all ok never replace others: of two workers with one unit the better counts, even
        if a driver or an actor that ought to be gone is the other."""
        key, data = RunLayout.row(task.index), encode_rows(rows, self._schema)
        statuses = tuple(row["status"] for row in rows)
        if all(status == STATUS_OK for status in statuses):
            self._store.put(key, data)
        elif not self._store.put_new(key, data):
            statuses = self.statuses_of(task.index) or statuses
        if task.resume or task.index in self._checkpointed:
            self._store.delete([RunLayout.checkpoint(task.index)])
            self._checkpointed.discard(task.index)
        return Finished(task.index, statuses)

    def write_checkpoint(self, index: int, state: SlotState) -> None:
        """Make the state of an image in flight durable."""
        self._checkpointed.add(index)
        self._store.put(RunLayout.checkpoint(index), state.to_bytes())

    def read_checkpoint(self, index: int) -> SlotState | None:
        """The last saved state of an image, if there is one. A damaged one is as good as none: the image is then
        begun anew, which costs steps and no result."""
        try:
            data = self._store.get(RunLayout.checkpoint(index))
        except ObjectNotFoundError:
            return None
        from i2s_batch.inversion import SlotState  # loads torch, which whoever only looks at a run does not need

        try:
            return SlotState.from_bytes(data)
        except StorageError:
            return None

    def read_rows(self, indices: Iterable[int]) -> pa.Table:
        """The logged rows of units, in the order of `indices`; raises RowsGoneError if some are not there."""
        keys = [RunLayout.row(index) for index in indices]
        with ThreadPoolExecutor(_READERS) as pool:
            try:
                return decode_rows(list(pool.map(self._store.get, keys)), self._schema)
            except ObjectNotFoundError as error:
                raise RowsGoneError(str(error)) from error

    def find_rows(self, index: int) -> pa.Table | None:
        """The logged rows of a unit, None if there are none."""
        try:
            rows = self._store.get(RunLayout.row(index))
        except ObjectNotFoundError:
            return None
        return decode_rows([rows], self._schema)

    def statuses_of(self, index: int) -> tuple[str, ...] | None:
        """The statuses in the logged rows of a unit, None if there are none."""
        rows = self.find_rows(index)
        return None if rows is None else tuple(rows["status"].to_pylist())

    def logged_rows(self) -> Iterator[int]:
        """The units whose rows are in the log."""
        for info in self._store.list(RunLayout.all_rows_prefix):
            index = RunLayout.row_index(info.key)
            if index is not None:
                yield index

    def logged_checkpoints(self) -> Iterator[int]:
        """The images that have a checkpoint."""
        for info in self._store.list(RunLayout.checkpoints_prefix):
            index = RunLayout.checkpoint_index(info.key)
            if index is not None:
                yield index

    def delete_rows(self, indices: Iterable[int]) -> None:
        """Forget the rows of units."""
        self._store.delete([RunLayout.row(index) for index in indices])
