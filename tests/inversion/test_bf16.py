"""Feature maps in bfloat16: near float32's figures, with everything that must stay float32."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from i2s_batch.config import EmbedConfig
from i2s_batch.inversion import Embedder
from i2s_batch.inversion.loss import mean_square
from i2s_batch.inversion.numerics import feature_map_dtype, set_numerics
from i2s_batch.models import VGGWeights, build_generator, build_vgg, random_generator, read_generator

DATA = Path(__file__).parents[1] / "data"
PICTURE = np.asarray(Image.open(DATA / "target_face_64.png").convert("RGB"))


def small_vgg() -> VGGWeights:
    with np.load(DATA / "vgg16_small_random.npz", allow_pickle=False) as file:
        return VGGWeights({key: file[key] for key in file.files if key.startswith("features.")}, "random, reduced")


def embedder(name: str, precision: str) -> Embedder:
    dtype, maps = set_numerics(precision), feature_map_dtype(precision)
    generator = build_generator(read_generator(DATA / f"{name}.pkl"), "cpu", dtype, maps)
    return Embedder(generator, build_vgg(small_vgg(), "cpu", dtype, maps), EmbedConfig(steps=6))


@pytest.mark.parametrize("name", ["sg1_r64", "sg2ada_r64", "sg3t_r64"])
def test_losses_follow_those_of_float32(name: str) -> None:
    (fp32,), (bf16,) = (embedder(name, p).embed([("face", PICTURE)]) for p in ("fp32", "bf16"))
    assert bf16.latent is not None and bf16.latent.dtype == bf16.curve.dtype == np.float32
    assert bf16.curve[0] == pytest.approx(fp32.curve[0], rel=0.02)
    assert bf16.curve[0] != fp32.curve[0]
    assert bf16.loss == pytest.approx(fp32.loss, rel=0.05)
    assert bf16.loss < bf16.curve[0]


@pytest.mark.parametrize("architecture", ["skip", "resnet", "orig"])
def test_every_architecture_of_stylegan2(architecture: str) -> None:
    weights = random_generator("stylegan2", 16, width=8, channel_base=64, architecture=architecture)
    ws = torch.randn(2, 6, 8, generator=torch.Generator().manual_seed(0))
    exact = build_generator(weights).synthesize(ws)
    image = build_generator(weights, maps=torch.bfloat16).synthesize(ws)
    assert image.dtype == torch.float32
    assert 0 < (image - exact).square().mean().sqrt() < 0.03 * exact.std()


def test_sums_of_the_loss_are_float32() -> None:
    ones, nothing = torch.ones(1, 1000, 10, dtype=torch.bfloat16), torch.zeros(1, 1000, 10, dtype=torch.bfloat16)
    ones[0, 0, 0] = 1.0078125
    assert mean_square(ones, nothing).dtype == torch.float32
    assert mean_square(ones, nothing).item() == pytest.approx(1 + (1.0078125**2 - 1) / 10_000, abs=1e-7)
