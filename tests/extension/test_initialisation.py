"""An initialisation from outside the package, in one file (origin.py)."""

from __future__ import annotations

import numpy as np
import pytest

from i2s_batch.config import SPACES, EmbedConfig
from i2s_batch.engine_registries import INITIALISATIONS
from i2s_batch.errors import ConfigError
from i2s_batch.inversion import Embedder
from tests.extension.origin import ORIGIN
from tests.inversion.linear import LinearGenerator, features


@pytest.mark.parametrize("space", SPACES)
def test_an_initialisation_from_outside_is_used_by_its_name_and_gone_when_removed(space: str) -> None:
    with INITIALISATIONS.added(ORIGIN):
        embedder = Embedder(LinearGenerator(), features, EmbedConfig(space=space, init="origin", seed=3))
        embedder.put("a", np.zeros((8, 8, 3), np.uint8))
        (state,) = embedder.snapshot()
    shape = {"w+": (3, 4), "w": (4,), "z": (5,)}[space]
    np.testing.assert_array_equal(state.variable, np.full(shape, 3.0))
    with pytest.raises(ConfigError, match="init is 'origin'; it must be one of mean, random"):
        EmbedConfig(init="origin")
