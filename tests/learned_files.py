"""A learned file of the small networks of tests.material."""

from __future__ import annotations

from pathlib import Path

import pytest

import i2s_batch


@pytest.fixture(scope="session")
def learned_file(tmp_path_factory: pytest.TempPathFactory, generator: Path, vgg: Path) -> Path:
    """What is learned of the small generator in a second."""
    path = tmp_path_factory.mktemp("learned") / "tiny.safetensors"
    i2s_batch.learn(generator, path, vgg=vgg, samples=64, latents=8, held_out=0, progress=False)
    return path
