"""Keeps the noise maps of finished images in the work log, one file an image, until they are published."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
import pyarrow as pa

from i2s_batch.errors import DamagedError, ObjectNotFoundError
from i2s_batch.output.layout import RunLayout
from i2s_batch.output.work_log import RowsDamagedError
from i2s_batch.schema.noise_codec import decode_noise, encode_noise
from i2s_batch.storage import open_store


class NoiseDamagedError(RowsDamagedError):
    """Reports logged rows whose noise maps are missing or damaged: the rows must be made again."""


class NoiseLog:
    """Reads and writes the maps of finished images of the run at `out`; `size` is the number of values of an image."""

    def __init__(self, out: str, size: int) -> None:
        self._store, self._size = open_store(out), size

    def write(self, index: int, image_id: str, maps: np.ndarray) -> None:
        """Make the maps of an image, float16 [size], durable. Its row is written after them and promises them."""
        self._store.put(RunLayout.noise_row(index), encode_noise(image_id, maps))

    def read(self, index: int, image_id: str) -> pa.Table:
        """Return the maps of an image as a table of one row.

        Raises:
            NoiseDamagedError: They are missing or damaged.
        """
        key = RunLayout.noise_row(index)
        try:
            return decode_noise(self._store.get(key), image_id, self._size)
        except ObjectNotFoundError as error:
            raise NoiseDamagedError({index: f"{self._store.uri(key)}: the noise maps are missing"}) from error
        except DamagedError as error:
            raise NoiseDamagedError({index: f"{self._store.uri(key)}: {error}"}) from error

    def delete(self, indices: Iterable[int]) -> None:
        """Delete the maps of units."""
        self._store.delete([RunLayout.noise_row(index) for index in indices])
