"""An initialisation from outside the package, in one file: the origin of the latent space."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from i2s_batch.config import SPACES, EmbedConfig
from i2s_batch.engine_registries import INITIALISATIONS
from i2s_batch.errors import ConfigError
from i2s_batch.inversion import Embedder
from i2s_batch.inversion.initialisation import Start
from i2s_batch.inversion.spaces import LatentSpace
from i2s_batch.registry import Declaration
from tests.inversion.linear import LinearGenerator, features

DECLARATION = Declaration[object]("origin", "The origin.", "tests.extension.test_initialisation:origin")


def origin(space: LatentSpace, seed: int) -> Start:
    return lambda image_id: torch.full(space.shape, float(seed)).to(space.generator.w_avg)


@pytest.mark.parametrize("space", SPACES)
def test_an_initialisation_from_outside_is_used_by_its_name_and_gone_when_removed(space: str) -> None:
    with INITIALISATIONS.added(DECLARATION):
        embedder = Embedder(LinearGenerator(), features, EmbedConfig(space=space, init="origin", seed=3))
        embedder.put("a", np.zeros((8, 8, 3), np.uint8))
        (state,) = embedder.snapshot()
    shape = {"w+": (3, 4), "w": (4,), "z": (5,)}[space]
    np.testing.assert_array_equal(state.variable, np.full(shape, 3.0))
    with pytest.raises(ConfigError, match="init is 'origin'; it must be one of mean, random"):
        EmbedConfig(init="origin")
