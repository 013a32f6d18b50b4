"""Keeps the work log: rows of finished units and checkpoints of images in flight, durable as they happen.

Keys follow from the unit's index in the plan, so that writing twice is harmless. Every row file and checkpoint has a
checksum (`i2s_batch.checksums`); a damaged one counts as missing: its images are embedded again.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import pyarrow as pa

from i2s_batch.checksums import check, with_checksum
from i2s_batch.errors import DamagedError, ObjectNotFoundError
from i2s_batch.output.layout import RunLayout
from i2s_batch.output.units import Finished, Task, Unit
from i2s_batch.schema.codec import decode_rows, encode_rows, table_schema
from i2s_batch.schema.columns import STATUS_OK
from i2s_batch.schema.row import UNKNOWN_ORIGIN, Row, RowOrigin
from i2s_batch.storage import open_store

_READERS = 8  # objects fetched at once


class RowsGoneError(ObjectNotFoundError):
    """Reports that rows which were in the log do not exist any more.

    A driver that was suspended while it deleted the rows of a shard had lost its lease, and continued.
    """


class RowsDamagedError(DamagedError):
    """Reports rows in the log that are not those that were written.

    Attributes:
        reasons: By unit, the file and what is wrong with it.
    """

    def __init__(self, reasons: Mapping[int, str]) -> None:
        self.reasons = dict(reasons)
        first, more = next(iter(self.reasons.values())), len(self.reasons) - 1
        others = f", and {more} more files of the work log are" if more else ""
        super().__init__(f"{first}{others}; run the same command again, which computes their images again")


def checkpoint_in(stored: bytes) -> bytes:
    """Return the checkpoint in the bytes of its file, in this version's form or an earlier one without a checksum.

    Raises:
        DamagedError: The checksum differs.
    """
    try:
        return check(stored)[0]
    except DamagedError as error:
        raise DamagedError(f"a checkpoint is damaged ({error})") from error


class WorkLog:
    """Reads and writes the log of the run at `out`; `latent_size` is L * w_dim, `origin` what its rows have in common.

    Rows get the run's id and the generator's fingerprint here, so that none can lack them.
    """

    def __init__(self, out: str, latent_size: int, origin: RowOrigin = UNKNOWN_ORIGIN) -> None:
        self._store, self._origin = open_store(out), origin
        self._schema = table_schema(latent_size, version=origin.schema_version)
        self._checkpointed: set[int] = set()

    def uri(self, index: int) -> str:
        """Return where the rows of a unit are, or would be."""
        return self._store.uri(RunLayout.row(index))

    def checkpoint_uri(self, index: int) -> str:
        """Return where the checkpoint of a unit is, or would be."""
        return self._store.uri(RunLayout.checkpoint(index))

    def write_rows(self, task: Task[Unit], rows: Sequence[Row]) -> Finished:
        """Make the rows of a finished unit, one for each of its images, durable; delete its checkpoint.

        Rows that are not all ok never replace others: of two workers with one unit the better rows count, even if one
        of the workers, or its driver, should have ended before.
        """
        key, data = RunLayout.row(task.index), encode_rows([self._signed(row) for row in rows], self._schema)
        statuses = tuple(row.status for row in rows)
        if all(status == STATUS_OK for status in statuses):
            self._store.put(key, data)  # over whatever is there: rows that are all ok are never worse
        elif not self._store.put_new(key, data):
            statuses = self._statuses_kept(task.index, data) or statuses
        if task.resume or task.index in self._checkpointed:
            self._store.delete([RunLayout.checkpoint(task.index)])
            self._checkpointed.discard(task.index)
        return Finished(task.index, statuses)

    def _signed(self, row: Row) -> Row:
        """Return a row with the run's id, and the fingerprint of the run's generator unless it has another."""
        fingerprint = row.generator_fingerprint or self._origin.generator_fingerprint
        return replace(row, generator_fingerprint=fingerprint, run_id=self._origin.run_id)

    def _statuses_kept(self, index: int, data: bytes) -> tuple[str, ...] | None:
        """Return the statuses in the rows that a unit has already; None if they were deleted.

        `data` replaces damaged rows.
        """
        held = self._get(RunLayout.row(index))
        if held is None:
            return None
        try:
            return tuple(decode_rows([held], self._schema)["status"].to_pylist())
        except DamagedError:
            return None if self._store.swap(RunLayout.row(index), held, data) else self.statuses_of(index)

    def write_checkpoint(self, index: int, content: bytes) -> None:
        """Make the state of an image in flight durable: its bytes, behind their checksum."""
        self._checkpointed.add(index)
        self._store.put(RunLayout.checkpoint(index), with_checksum(content))

    def read_checkpoint(self, index: int) -> bytes | None:
        """Return the last saved state of an image, None if there is none.

        Raises:
            DamagedError: It is damaged; the message names the file. It counts as missing, which costs steps but no
                result.
        """
        stored = self._get(RunLayout.checkpoint(index))
        try:
            return None if stored is None else checkpoint_in(stored)
        except DamagedError as error:
            raise DamagedError(f"{self.checkpoint_uri(index)}: {error}") from error

    def read_rows(self, indices: Iterable[int]) -> pa.Table:
        """Return the logged rows of units, in the order of `indices`.

        Raises:
            RowsGoneError: Some rows do not exist.
            RowsDamagedError: Some rows are damaged; the message names all of them.
        """
        units = list(indices)
        with ThreadPoolExecutor(_READERS) as pool:
            try:
                contents = list(pool.map(self._store.get, map(RunLayout.row, units)))
            except ObjectNotFoundError as error:
                raise RowsGoneError(str(error)) from error
        tables, damaged = [self._schema.empty_table()], {}
        for index, content in zip(units, contents, strict=True):
            try:
                tables.append(decode_rows([content], self._schema))
            except DamagedError as error:
                damaged[index] = f"{self.uri(index)}: {error}"
        if damaged:
            raise RowsDamagedError(damaged)
        return pa.concat_tables(tables)

    def find_rows(self, index: int) -> pa.Table | None:
        """Return the logged rows of a unit, None if there are none or they are damaged."""
        content = self._get(RunLayout.row(index))
        try:
            return None if content is None else decode_rows([content], self._schema)
        except DamagedError:
            return None

    def statuses_of(self, index: int) -> tuple[str, ...] | None:
        """Return the statuses in the logged rows of a unit, None if there are none or they are damaged."""
        rows = self.find_rows(index)
        return None if rows is None else tuple(rows["status"].to_pylist())

    def logged_rows(self) -> Iterator[int]:
        """Yield the units whose rows are in the log."""
        for info in self._store.list(RunLayout.all_rows_prefix):
            index = RunLayout.row_index(info.key)
            if index is not None:
                yield index

    def logged_checkpoints(self) -> Iterator[int]:
        """Yield the images that have a checkpoint."""
        for info in self._store.list(RunLayout.checkpoints_prefix):
            index = RunLayout.checkpoint_index(info.key)
            if index is not None:
                yield index

    def delete_rows(self, indices: Iterable[int]) -> None:
        """Delete the rows of units."""
        self._store.delete([RunLayout.row(index) for index in indices])

    def _get(self, key: str) -> bytes | None:
        try:
            return self._store.get(key)
        except ObjectNotFoundError:
            return None
