"""The program that measures the noise stage, on a tiny generator."""

from __future__ import annotations

from pathlib import Path

import torch

from i2s_batch.bench.noise import Faces, measured
from i2s_batch.config import EmbedConfig
from i2s_batch.models.loading import load_generator, load_vgg


def test_a_penalty_costs_psnr_and_keeps_the_maps_near_the_stored_ones(generator: Path, vgg: Path) -> None:
    torch.manual_seed(0)
    faces = Faces.drawn(2, seed=1, side=16)
    assert len(faces.images) == 4 and len(faces.midpoints) == 1
    config = EmbedConfig(steps=10, noise_steps=40)
    table = measured(faces, load_generator(generator), load_vgg(vgg), config, [0.0, 10.0])
    none, free, held = table["no stage"], table["penalty 0"], table["penalty 10"]
    assert none.psnr < held.psnr < free.psnr and none.distance == 0 < held.distance < free.distance
    assert free.loss < none.loss and (free.edit, free.morph) != (none.edit, none.morph)
