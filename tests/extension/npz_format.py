"""A checkpoint format of another program, in one file: NumPy's archive of arrays."""

from __future__ import annotations

import io
import json
import zipfile

import numpy as np

from i2s_batch.errors import CheckpointError
from i2s_batch.models import GeneratorWeights
from i2s_batch.models.checkpoints.checkpoint_file import CheckpointFile, CheckpointFormat
from i2s_batch.models.checkpoints.formats import FormatDeclaration
from i2s_batch.models.network_settings import settings_of


def recognises(file: CheckpointFile) -> bool:
    """Return whether the file is of this format, from its bytes alone."""
    return b"network.json.npy" in bytes(file.data[-4096:])


def read(file: CheckpointFile) -> GeneratorWeights:
    """Return the weights; CheckpointError, without the file's name, if it is damaged."""
    try:
        with np.load(io.BytesIO(file.data), allow_pickle=False) as stored:
            about = json.loads(stored["network.json"].tobytes())
            tensors = {name: stored[name] for name in stored.files if name not in ("network.json", "notes")}
    except zipfile.BadZipFile as error:
        raise CheckpointError(f"this archive is damaged: {error}") from error
    return GeneratorWeights(settings_of(about["family"], about["settings"]), tensors, "of an archive")


def others(file: CheckpointFile, weights: object) -> list[tuple[str, object]]:
    """Return what else the file holds, for `i2s-batch inspect`."""
    with zipfile.ZipFile(io.BytesIO(file.data)) as archive:
        return [(name, 1) for name in archive.namelist() if name == "notes.npy"]


FORMAT = CheckpointFormat(recognises, read, others)
NPZ = FormatDeclaration("npz", "A generator as an .npz.", "tests.extension.npz_format:FORMAT", label="npz, {origin}")
