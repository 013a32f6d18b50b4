"""The latent spaces W+, W and Z: what is optimised, where it starts, and the W+ code that it stands for."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from typing import Protocol

import numpy as np
import torch

from i2s_batch.config import EmbedConfig
from i2s_batch.errors import ConfigError

# How many seeded samples the mean start of space z is chosen from.
Z_CANDIDATES = 4096


class GeneratorLike(Protocol):
    """What the engine asks of a generator; the tests embed with a linear one whose answer is known.

    `activations`: the dtype of feature maps, None for that of `w_avg`; `build_fused`: builds the same synthesis in the
    operators of compiled steps, for a memory layout (nchw or nhwc); None where there are none.
    """

    resolution: int
    num_layers: int
    z_dim: int
    w_dim: int
    c_dim: int
    w_avg: torch.Tensor
    activations: torch.dtype | None
    build_fused: Callable[[str], Callable[[torch.Tensor], torch.Tensor]] | None

    def map(self, z: torch.Tensor) -> torch.Tensor: ...

    def synthesize(self, ws: torch.Tensor) -> torch.Tensor: ...


def random_generator_for(seed: int, image_id: str) -> np.random.Generator:
    """A random stream that depends on the seed and the image alone, on every machine."""
    digest = hashlib.sha256(f"{seed}\n".encode() + image_id.encode()).digest()
    return np.random.Generator(np.random.PCG64(int.from_bytes(digest, "big")))


class LatentSpace:
    """One of W+ (variable [L, w_dim]), W ([w_dim]) and Z ([z_dim]) of a given generator."""

    def __init__(self, generator: GeneratorLike, config: EmbedConfig) -> None:
        if config.space == "z" and generator.c_dim:
            raise ConfigError("space z is not available for a conditional generator; use --space w+ or w")
        self.name = config.space
        self._generator = generator
        self._init = config.init
        self._seed = config.seed
        layers, w_dim = generator.num_layers, generator.w_dim
        self.shape = {"w+": (layers, w_dim), "w": (w_dim,), "z": (generator.z_dim,)}[config.space]
        self._mean = self._mean_start() if config.init == "mean" else None

    def start(self, image_id: str) -> torch.Tensor:
        """The start of one image: the mean, or i.i.d. uniform in [-1, 1] drawn from (seed, image_id)."""
        if self._mean is not None:
            return self._mean.clone()
        drawn = random_generator_for(self._seed, image_id).uniform(-1.0, 1.0, self.shape)
        return torch.from_numpy(drawn).to(self._generator.w_avg)

    def to_ws(self, variable: torch.Tensor) -> torch.Tensor:
        """The W+ codes [B, L, w_dim] that a batch of variables [B, *shape] stands for."""
        if self.name == "w+":
            return variable
        if self.name == "w":
            return variable[:, None].expand(-1, self._generator.num_layers, -1)
        return self._generator.map(variable)

    def _mean_start(self) -> torch.Tensor:
        w_avg = self._generator.w_avg.detach()
        if self.name == "z":
            return self._z_nearest_to_mean(w_avg)
        return w_avg.expand(self.shape).clone()

    def _z_nearest_to_mean(self, w_avg: torch.Tensor) -> torch.Tensor:
        """Z has no mean code (z is normalised, and 0 is singular): the sample that maps nearest to w_avg."""
        stream = random_generator_for(self._seed, "")
        z = torch.from_numpy(stream.standard_normal((Z_CANDIDATES, *self.shape))).to(w_avg)
        with torch.no_grad():
            distance = (self._generator.map(z)[:, 0] - w_avg).square().sum(1)
        return z[distance.argmin()]
