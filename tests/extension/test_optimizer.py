"""An optimiser from outside the package, in one file (descent.py): the same steps by hand."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from i2s_batch.config import EmbedConfig
from i2s_batch.engine_registries import OPTIMIZERS
from i2s_batch.errors import ConfigError
from i2s_batch.inversion import Embedder
from i2s_batch.inversion.loss import loss_terms, loss_weight_vector
from i2s_batch.inversion.metrics import from_uint8
from i2s_batch.schema.settings import RunSettings
from tests.extension.descent import DESCENT
from tests.inversion.linear import LinearGenerator, features

STEPS, RATE = 30, 0.05


def expected(generator: LinearGenerator, image: np.ndarray) -> torch.Tensor:
    """The same steps by hand."""
    target = from_uint8(image, generator.w_avg)[None]
    weights = loss_weight_vector(EmbedConfig().loss_weights, generator.w_avg)
    w = generator.w_avg.expand(generator.num_layers, -1).clone()
    for _ in range(STEPS):
        leaf = w.clone().requires_grad_()
        made = generator.synthesize(leaf[None])
        (loss_terms(made, target, features(made), features(target))[0] @ weights).backward()
        assert leaf.grad is not None
        w = w - RATE * leaf.grad
    return w


def test_an_optimizer_from_outside_is_used_by_its_name_and_gone_when_removed() -> None:
    generator = LinearGenerator()
    image = np.random.default_rng(1).integers(0, 256, (8, 8, 3)).astype(np.uint8)
    with OPTIMIZERS.added(DESCENT):
        config = EmbedConfig(steps=STEPS, optimizer="descent", learning_rate=RATE)
        (result,) = Embedder(generator, features, config).embed([("a", image)])
        with pytest.raises(ConfigError, match="patience is 6 steps; with the optimizer descent it must be at least 7"):
            EmbedConfig(optimizer="descent", stop_plateau=1.0, plateau_steps=6)
        assert RunSettings.of(config.identity()).embed_config().optimizer == "descent"
    assert result.latent is not None
    np.testing.assert_allclose(result.latent, expected(generator, image).numpy(), rtol=0, atol=1e-12)
    with pytest.raises(ConfigError, match="optimizer is 'descent'; it must be one of adam, lbfgs"):
        EmbedConfig(optimizer="descent")
