"""A checkpoint format from outside the package, in one file: NumPy's archive of arrays."""

from __future__ import annotations

import io
import json
import zipfile
from pathlib import Path

import numpy as np
import pytest

from i2s_batch.errors import CheckpointError
from i2s_batch.models import GeneratorWeights, random_generator, read_generator, read_vgg
from i2s_batch.models.checkpoints import facts, inspect_checkpoint
from i2s_batch.models.checkpoints.checkpoint_file import CheckpointFile, CheckpointFormat
from i2s_batch.models.checkpoints.formats import FORMATS, FormatDeclaration
from i2s_batch.models.network_settings import settings_of

DECLARATION = FormatDeclaration(
    "npz", "A generator as an .npz.", "tests.extension.test_checkpoint_format:FORMAT", label="npz, {origin}"
)


def recognises(file: CheckpointFile) -> bool:
    return b"network.json.npy" in bytes(file.data[-4096:])


def read(file: CheckpointFile) -> GeneratorWeights:
    try:
        with np.load(io.BytesIO(file.data), allow_pickle=False) as stored:
            about = json.loads(stored["network.json"].tobytes())
            tensors = {name: stored[name] for name in stored.files if name not in ("network.json", "notes")}
    except zipfile.BadZipFile as error:
        raise CheckpointError(f"this archive is damaged: {error}") from error
    return GeneratorWeights(settings_of(about["family"], about["settings"]), tensors, "of an archive")


def others(file: CheckpointFile, weights: object) -> list[tuple[str, object]]:
    with zipfile.ZipFile(io.BytesIO(file.data)) as archive:
        return [(name, 1) for name in archive.namelist() if name == "notes.npy"]


FORMAT = CheckpointFormat(recognises, read, others)


def test_a_format_from_outside_is_read_and_inspected_and_gone_when_removed(tmp_path: Path) -> None:
    weights = random_generator("stylegan2", 16, seed=3, width=8)
    about = json.dumps({"family": weights.family, "settings": weights.settings.to_json()}).encode()
    path = tmp_path / "network.npz"
    np.savez(path, notes=np.zeros(1), **weights.tensors, **{"network.json": np.frombuffer(about, np.uint8)})
    with FORMATS.added(DECLARATION):
        assert read_generator(path).fingerprint == weights.fingerprint
        shown = dict(facts(inspect_checkpoint(path)))
        assert (shown["format"], shown["family"], shown["also holds"]) == (
            "npz, of an archive",
            "stylegan2",
            "notes.npy (1)",
        )
        with pytest.raises(CheckpointError, match=r"network\.npz: "):
            read_vgg(path)
        path.write_bytes(path.read_bytes()[:2000] + path.read_bytes()[2100:])
        with pytest.raises(CheckpointError, match=r"network\.npz: this archive is damaged"):
            read_generator(path)
    with pytest.raises(CheckpointError, match=r"network\.npz: this zip archive"):
        read_generator(path)
