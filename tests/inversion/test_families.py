"""A short embedding with a generator of each official format: the drawn face, the narrow VGG-16."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from i2s_batch.config import EmbedConfig
from i2s_batch.inversion import Embedder
from i2s_batch.models import build_generator, build_vgg, read_generator
from i2s_batch.models.weights import VGGWeights

DATA = Path(__file__).parents[1] / "data"


@pytest.mark.parametrize("name", ["sg1_r64", "sg2ada_r64", "sg2tf_r64", "sg3t_r64"])
def test_the_loss_falls(name: str) -> None:
    with np.load(DATA / "vgg16_small_random.npz", allow_pickle=False) as file:
        tensors = {key: file[key] for key in file.files if key.startswith("features.")}
    picture = np.asarray(Image.open(DATA / "target_face_64.png").convert("RGB"))
    generator, vgg = build_generator(read_generator(DATA / f"{name}.pkl")), build_vgg(VGGWeights(tensors, "shared"))
    config = EmbedConfig(steps=8, batch_size=2)
    results = list(Embedder(generator, vgg, config).embed([("a", picture), ("b", picture[:, ::-1])]))
    assert {result.image_id for result in results} == {"a", "b"}
    for result in results:
        assert (result.status, result.steps) == ("ok", 8)
        assert result.latent.shape == (generator.num_layers, generator.w_dim)
        assert result.loss < result.curve[0]
        with torch.no_grad():
            image = generator.synthesize(torch.from_numpy(result.latent)[None])
        assert image.shape == (1, 3, 64, 64)
