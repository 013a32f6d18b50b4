"""The pictures of a study: what each row was given and what it made of it."""

from __future__ import annotations

from typing import Any

import numpy as np

from i2s_batch.errors import I2SError
from i2s_batch.images.read.decoding import decode_picture
from i2s_batch.images.resize import fit_picture
from i2s_batch.output.layout import RunLayout
from i2s_batch.sources.image_bytes import read_bytes
from i2s_batch.storage import Store

Row = dict[str, Any]


class StudyPictures:
    """uint8 [R, R, 3] each; None for what is not there any more: the study is over, and its table stands."""

    def __init__(self, store: Store, fit: str) -> None:
        self._store, self._fit = store, fit

    def made(self, row: Row) -> np.ndarray | None:
        """The reconstruction of a row."""
        try:
            return decode_picture(self._store.get(RunLayout.picture(row["image_id"], "png")))
        except I2SError:
            return None

    def given(self, row: Row) -> np.ndarray | None:
        """What was embedded: as large as the reconstruction."""
        made = self.made(row)
        try:
            return (
                None if made is None else fit_picture(decode_picture(read_bytes(row["uri"])), made.shape[0], self._fit)
            )
        except I2SError:
            return None
