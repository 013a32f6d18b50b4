"""A slot as a value: what must be kept of a picture in flight so that it can go on exactly as before."""

from __future__ import annotations

import io
import zipfile
from dataclasses import dataclass

import numpy as np

from i2s_batch.errors import StorageError

_ARRAYS = ("variable", "m", "v", "history")


@dataclass(frozen=True)
class SlotState:
    """`step` updates have been made; arrays have the generator's dtype.

    `variable`: [*space shape]; `m`, `v`: what the optimiser remembers; `history`: [step, 5], the loss terms before each
    update;
    `seconds`: wall time spent so far.
    """

    image_id: str
    step: int
    variable: np.ndarray
    m: np.ndarray
    v: np.ndarray
    history: np.ndarray
    seconds: float

    def to_bytes(self) -> bytes:
        """As an .npz without pickles."""
        buffer = io.BytesIO()
        arrays = {name: getattr(self, name) for name in _ARRAYS}
        np.savez(
            buffer,
            image_id=np.frombuffer(self.image_id.encode(), np.uint8),
            progress=np.array([self.step, self.seconds], np.float64),
            **arrays,
        )
        return buffer.getvalue()

    @classmethod
    def from_bytes(cls, data: bytes) -> SlotState:
        """The state written by `to_bytes`; raises StorageError for anything else."""
        try:
            with np.load(io.BytesIO(data), allow_pickle=False) as file:
                step, seconds = file["progress"].tolist()
                arrays = {name: file[name] for name in _ARRAYS}
                image_id = file["image_id"].tobytes().decode()
        except (ValueError, KeyError, OSError, EOFError, zipfile.BadZipFile) as error:
            raise StorageError(f"a checkpoint is damaged ({error}); delete it to start that picture anew") from error
        return cls(image_id=image_id, step=int(step), seconds=seconds, **arrays)
