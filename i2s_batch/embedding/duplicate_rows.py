"""Gives an image the result of another with the same bytes (`--dedupe`), whose row is durable: in the log or the table.

A result is taken over only where it is that of these very bytes, of the same part of the image: else the image is
embedded itself. So a file that has changed since the run was planned costs time, and never gets the row of another.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import UTC, datetime

import numpy as np

from i2s_batch.embedding.rows import LoadedImage
from i2s_batch.embedding.units import EmbedUnit, SameBytes
from i2s_batch.errors import LatentError, StorageError
from i2s_batch.output.layout import RunLayout
from i2s_batch.output.noise_log import NoiseDamagedError, NoiseLog
from i2s_batch.output.units import Task
from i2s_batch.output.work_log import WorkLog
from i2s_batch.schema.columns import STATUS_CRASHED, STATUS_DIVERGED, STATUS_OK, folder_of
from i2s_batch.schema.noise_codec import maps_in
from i2s_batch.schema.row import Row
from i2s_batch.storage import Store
from i2s_batch.table.latent_reader import LatentLocation
from i2s_batch.table.noise_reader import NoiseReader
from i2s_batch.table.shards import row_of_shard

_PARTS = ("crop_box", "landmarks", "transform")  # the columns that say which part of an image was embedded


@dataclass(frozen=True)
class TakenOver:
    """Holds the row of an image, and its noise maps if it has any, float16, that another image's result is."""

    row: Row
    noise: np.ndarray | None = None


class Results:
    """Finds the results of images that are done. May be used by several threads."""

    def __init__(self, store: Store, log: WorkLog, noise_log: NoiseLog, noise_size: int, version: int) -> None:
        """Read the run in `store`, whose table has the columns of the schema `version`."""
        self._store, self._log, self._version = store, log, version
        self._noise_log, self._noise_size = noise_log, noise_size

    def crashed(self, task: Task[EmbedUnit], sha256: str) -> TakenOver | None:
        """Return the row of an image whose bytes, those of another, have ended workers; None for any other image."""
        first = task.unit.same_as
        row = None if first is None or first.sha256 != sha256 else self._row(first)
        if row is None or row.status != STATUS_CRASHED or row.sha256 is not None:  # which a failed detector leaves
            return None
        return TakenOver(_renamed(task, LoadedImage(), row))

    def of(self, task: Task[EmbedUnit], image: LoadedImage) -> TakenOver | None:
        """Return the result for an image, which was loaded, of the one with its bytes; None if it has to be embedded.

        That is so where the other has no result, or bytes or a part of the image that are not the same.
        """
        first = task.unit.same_as
        row = None if first is None else self._row(first)
        if first is None or row is None or row.sha256 != image.sha256:
            return None
        same_part = all(_equal(getattr(row, name), getattr(image, name)) for name in _PARTS)
        if row.status not in (STATUS_OK, STATUS_DIVERGED) or not same_part:
            return None
        taken = _renamed(task, image, row)
        if row.noise_steps is None:
            return TakenOver(taken)
        maps = self._maps(first)
        return None if maps is None else TakenOver(taken, maps)

    def _row(self, first: SameBytes) -> Row | None:
        """Return the row of an image that is done; None if it cannot be read.

        A shard is published before its rows are deleted from the log: the log is looked at first.
        """
        try:
            logged = self._log.find_rows(first.index)
            if logged is not None:
                return Row.of_cells(logged.to_pylist()[0], self._version)
            return row_of_shard(self._store, RunLayout.shard(first.shard), first.image_id)
        except StorageError:
            return None

    def _maps(self, first: SameBytes) -> np.ndarray | None:
        """Return the noise maps of an image that is done; None if they cannot be read."""
        try:
            maps: np.ndarray = maps_in(self._noise_log.read(first.index, first.image_id))[0]
            return maps
        except NoiseDamagedError:  # most likely they are published
            pass
        reader = NoiseReader([self._store.url], self._noise_size)
        try:
            return reader.read(first.image_id, LatentLocation(0, first.shard, first.row))
        except (LatentError, StorageError):
            return None


def _renamed(task: Task[EmbedUnit], image: LoadedImage, row: Row) -> Row:
    """Return the row of another image as that of the image of `task`."""
    return replace(
        row,
        image_id=task.image_id,
        uri=task.unit.uri,
        folder=folder_of(task.image_id),
        attempts=task.attempts,
        embedded_at=datetime.now(UTC),
        sha256=image.sha256,
        bytes=row.bytes if image.bytes is None else image.bytes,
        seconds=None if row.seconds is None else 0.0,
        vanished_at=None,
        duplicate_of=row.duplicate_of or row.image_id,
        extra={},
    )


def _equal(one: np.ndarray | None, other: object) -> bool:
    """Return whether two parts of an image are the same, as the table holds them."""
    if one is None or other is None:
        return one is None and other is None
    return np.array_equal(np.asarray(one, np.float32), np.asarray(other, np.float32))
