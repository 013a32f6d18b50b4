"""The work log: finished rows and checkpoints of pictures in flight, one object each, durable as they happen.

Keys follow from the image's place in the plan, so that writing twice is harmless.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

import pyarrow as pa

from i2s_batch.errors import ObjectNotFoundError, StorageError
from i2s_batch.records import Finished, Task
from i2s_batch.storage.layout import RunLayout
from i2s_batch.storage.objects import open_store
from i2s_batch.storage.table import decode_rows, encode_row, table_schema

if TYPE_CHECKING:
    from i2s_batch.inversion import SlotState

_READERS = 8  # rows fetched at once


class WorkLog:
    """Reads and writes the log of the run at `out`; `latent_size` is L * w_dim."""

    def __init__(self, out: str, shard_size: int, latent_size: int) -> None:
        self._store = open_store(out)
        self._layout = RunLayout(shard_size)
        self._schema = table_schema(latent_size)
        self._checkpointed: set[int] = set()

    def write_row(self, task: Task, row: dict[str, Any]) -> Finished:
        """Make the row of a finished image durable; its checkpoint is no longer needed."""
        self._store.put(self._layout.row(task.index), encode_row(row, self._schema))
        if task.resume or task.index in self._checkpointed:
            self._store.delete([self._layout.checkpoint(task.index)])
            self._checkpointed.discard(task.index)
        return Finished(task.index, task.image_id, row["status"], row["error"])

    def write_checkpoint(self, index: int, state: SlotState) -> None:
        """Make the state of an image in flight durable."""
        self._checkpointed.add(index)
        self._store.put(self._layout.checkpoint(index), state.to_bytes())

    def read_checkpoint(self, index: int) -> SlotState | None:
        """The last saved state of an image, if there is one. A damaged one is as good as none: the image is then
        begun anew, which costs steps and no result."""
        try:
            data = self._store.get(self._layout.checkpoint(index))
        except ObjectNotFoundError:
            return None
        from i2s_batch.inversion import SlotState  # loads torch, which whoever only looks at a run does not need

        try:
            return SlotState.from_bytes(data)
        except StorageError:
            return None

    def read_rows(self, indices: Iterable[int]) -> pa.Table:
        """The logged rows of images, in the order of `indices`."""
        keys = [self._layout.row(index) for index in indices]
        with ThreadPoolExecutor(_READERS) as pool:
            return decode_rows(list(pool.map(self._store.get, keys)), self._schema)

    def find_row(self, index: int) -> pa.Table | None:
        """An image's logged row, None if there is no such row."""
        try:
            row = self._store.get(self._layout.row(index))
        except ObjectNotFoundError:
            return None
        return decode_rows([row], self._schema)

    def status_of(self, index: int) -> str | None:
        """The status in an image's logged row, None if there is no such row."""
        row = self.find_row(index)
        return None if row is None else str(row["status"][0].as_py())

    def logged_rows(self) -> Iterator[int]:
        """The images whose rows are in the log."""
        for info in self._store.list(self._layout.all_rows_prefix):
            index = self._layout.row_index(info.key)
            if index is not None:
                yield index

    def logged_checkpoints(self) -> Iterator[int]:
        """The images that have a checkpoint."""
        for info in self._store.list(self._layout.checkpoints_prefix):
            index = self._layout.checkpoint_index(info.key)
            if index is not None:
                yield index

    def delete_rows(self, indices: Iterable[int]) -> None:
        """Forget the rows of images."""
        self._store.delete([self._layout.row(index) for index in indices])
