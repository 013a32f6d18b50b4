"""Defines the state of a slot as a value: all that an image in flight needs to resume exactly where it was."""

from __future__ import annotations

import io
import struct
import zipfile
import zlib
from dataclasses import dataclass

import numpy as np

from i2s_batch.errors import DamagedError
from i2s_batch.inversion.noise_state import NoiseState

_ARRAYS = ("variable", "m", "v", "history")
# What numpy and zipfile raise for damaged bytes without a checksum, as earlier versions wrote them.
_UNREADABLE = (
    *(ValueError, KeyError, TypeError, IndexError, AttributeError, OverflowError, MemoryError, RuntimeError),
    *(OSError, EOFError, zipfile.BadZipFile, zlib.error, struct.error),
)


@dataclass(frozen=True)
class SlotState:
    """Holds the state of an image after `step` updates; arrays have the generator's dtype.

    Attributes:
        image_id: The image's id.
        step: Updates that have been made.
        variable: The optimised variable [*space shape].
        m: First state tensor of the optimiser.
        v: Second state tensor of the optimiser.
        history: The loss terms before each update, [step, 5]; with a prior [step, 6].
        seconds: Wall time spent so far.
        sha256: The hash of the image file, hex; empty where it is not known (checkpoints of earlier versions; images
            that come from no file).
        noise: The noise maps of an image in the noise stage, whose latent is that of this state; None before it.
    """

    image_id: str
    step: int
    variable: np.ndarray
    m: np.ndarray
    v: np.ndarray
    history: np.ndarray
    seconds: float
    sha256: str = ""
    noise: NoiseState | None = None

    def to_bytes(self) -> bytes:
        """Return the state as an .npz without pickles."""
        buffer = io.BytesIO()
        arrays = {name: getattr(self, name) for name in _ARRAYS}
        arrays |= {} if self.noise is None else self.noise.arrays()
        np.savez(
            buffer,
            image_id=np.frombuffer(self.image_id.encode(), np.uint8),
            progress=np.array([self.step, self.seconds], np.float64),
            sha256=np.frombuffer(self.sha256.encode(), np.uint8),
            **arrays,
        )
        return buffer.getvalue()

    @classmethod
    def from_bytes(cls, content: bytes) -> SlotState:
        """Return the state that `to_bytes` wrote, in this version or an earlier one.

        Raises:
            DamagedError: The bytes are anything else.
        """
        try:
            if not content.startswith(b"PK"):  # numpy's own message would advise unsafe loading
                raise DamagedError("it is no archive of arrays")
            with np.load(io.BytesIO(content), allow_pickle=False) as file:
                step, seconds = file["progress"].tolist()
                arrays = {name: file[name] for name in _ARRAYS}
                image_id = file["image_id"].tobytes().decode()
                sha256 = file["sha256"].tobytes().decode() if "sha256" in file else ""
                noise = NoiseState.of_arrays(file)
            return cls(image_id, int(step), seconds=float(seconds), sha256=sha256, noise=noise, **arrays)
        except (DamagedError, *_UNREADABLE) as error:
            reason = " ".join(str(error).split()) or type(error).__name__
            raise DamagedError(f"a checkpoint is damaged ({reason})") from error
