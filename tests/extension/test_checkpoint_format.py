"""A checkpoint format from outside the package, in one file (npz_format.py)."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from i2s_batch.errors import CheckpointError
from i2s_batch.models import random_generator, read_generator, read_vgg
from i2s_batch.models.checkpoints import facts, inspect_checkpoint
from i2s_batch.models.checkpoints.formats import FORMATS
from tests.extension.npz_format import NPZ


def test_a_format_from_outside_is_read_and_inspected_and_gone_when_removed(tmp_path: Path) -> None:
    weights = random_generator("stylegan2", 16, seed=3, width=8)
    about = json.dumps({"family": weights.family, "settings": weights.settings.to_json()}).encode()
    path = tmp_path / "network.npz"
    np.savez(path, notes=np.zeros(1), **weights.tensors, **{"network.json": np.frombuffer(about, np.uint8)})
    with FORMATS.added(NPZ):
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
