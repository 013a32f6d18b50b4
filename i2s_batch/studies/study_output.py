"""Reads the output of a study: its rows that are ok, the input of each, and its reconstruction."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from i2s_batch.errors import I2SError
from i2s_batch.images.read.decoding import decode_image
from i2s_batch.images.resize import fit_image
from i2s_batch.output.layout import RunLayout
from i2s_batch.run.recorded import present_uris
from i2s_batch.schema.columns import STATUS_OK
from i2s_batch.sources.image_bytes import read_bytes
from i2s_batch.storage import Store, open_store
from i2s_batch.studies.study_rows import READ_COLUMNS, StudyRow, study_image_id
from i2s_batch.table.shards import read_table, rows_of


class StudyOutput:
    """Holds rows, and reads their images, uint8 [R, R, 3].

    An image that no longer exists is None: the table is valid without it.
    """

    def __init__(self, store: Store, rows: Sequence[StudyRow], failed: int, fit: str) -> None:
        """Hold the `rows` of a study that are ok; `failed` counts the others, `fit` is the setting of its images."""
        self.rows, self.failed = rows, failed
        self._store, self._fit = store, fit
        self._present_uri = present_uris(store.url)
        self._by_id = {row.row.image_id: row for row in rows}

    @classmethod
    def read(cls, out: str, fit: str, latents: bool) -> StudyOutput:
        """Read the table at `out`, with its latents if `latents`.

        Raises:
            StorageError: There is no table.
        """
        rows = rows_of(read_table(out, [*READ_COLUMNS, *(["latent"] if latents else [])]))
        done = [StudyRow.of(row) for row in rows if row.status == STATUS_OK]
        return cls(open_store(out), done, len(rows) - len(done), fit)

    def row(self, variant: str, image: str) -> StudyRow | None:
        """Return the row of a variant of an image; None if it is not ok, or not in the study."""
        return self._by_id.get(study_image_id(variant, image))

    def reconstruction(self, row: StudyRow) -> np.ndarray | None:
        """Return the reconstruction of a row."""
        try:
            return decode_image(self._store.get(RunLayout.picture(row.row.image_id, "png")))
        except I2SError:
            return None

    def input(self, row: StudyRow) -> np.ndarray | None:
        """Return what was embedded, as large as the reconstruction."""
        reconstruction = self.reconstruction(row)
        if reconstruction is None:
            return None
        try:
            return fit_image(
                decode_image(read_bytes(self._present_uri(row.row.uri))), reconstruction.shape[0], self._fit
            )
        except I2SError:
            return None
