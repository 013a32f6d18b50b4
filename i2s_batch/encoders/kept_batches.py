"""Keeps the results of batches in a folder, so that learning that was interrupted is resumed."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path

import numpy as np

from i2s_batch.config import Json
from i2s_batch.errors import CheckpointError, ConfigError
from i2s_batch.models.checkpoints.opening import opened
from i2s_batch.models.checkpoints.safetensors_file import read_arrays, write_arrays
from i2s_batch.storage.files import written_whole

_SETTINGS = "settings.json"


class KeptBatches:
    """Returns the result of a batch from its file, or computes it and writes the file, whole or not at all.

    Args:
        folder: Where the files are; None keeps nothing.
        settings: What the results depend on.

    Raises:
        ConfigError: The folder holds something else, or results of other settings.
    """

    def __init__(self, folder: Path | None, settings: Mapping[str, Json] | None = None) -> None:
        self._folder = folder
        self.reused = 0
        self._names: list[str] = []
        if folder is None:
            return
        text = json.dumps(settings or {}, sort_keys=True, indent=1)
        recorded = folder / _SETTINGS
        if not folder.exists() or (folder.is_dir() and not any(folder.iterdir())):
            folder.mkdir(parents=True, exist_ok=True)
            with written_whole(recorded) as file:
                file.write(text.encode())
        elif not recorded.is_file():
            raise ConfigError(f"{folder} exists and was not made by learn; give another FILE or move it away")
        elif recorded.read_text() != text:
            advice = "delete that folder, give another FILE, or give the settings it was begun with"
            raise ConfigError(f"{folder} holds unfinished results of other settings or networks; {advice}")

    def get(self, name: str, compute: Callable[[], dict[str, np.ndarray]]) -> dict[str, np.ndarray]:
        """Return the arrays of a batch by name: float32."""
        if self._folder is None:
            return compute()
        self._names.append(name)
        path = self._folder / f"{name}.safetensors"
        if path.is_file():
            try:
                with opened(path) as data:
                    found = {key: array.read() for key, array in read_arrays(data).arrays.items()}
            except CheckpointError:
                pass  # cut or damaged: it is computed again
            else:
                self.reused += 1
                return found
        arrays = compute()
        write_arrays(path, arrays, {})
        return arrays

    def delete(self) -> None:
        """Delete the files that were kept, and the folder unless it holds others."""
        if self._folder is None:
            return
        for name in (*(f"{name}.safetensors" for name in self._names), _SETTINGS):
            (self._folder / name).unlink(missing_ok=True)
        with suppress(OSError):
            self._folder.rmdir()
