"""Defines where the optimisation of an image starts: the initialisations by name (`engine_registries.INITIALISATIONS`).

An initialisation prepares, for a latent space and a seed, what gives each image its start.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable

import numpy as np
import torch

from i2s_batch.config import EmbedConfig
from i2s_batch.engine_registries import INITIALISATIONS
from i2s_batch.inversion.spaces import LatentSpace

# How many seeded samples the mean start of space z is chosen from.
Z_CANDIDATES = 4096

# image_id -> the variable [*space shape] before the first update, like the generator's `w_avg`; a tensor of its own.
Start = Callable[[str], torch.Tensor]
# (space, seed) -> the start of each image
Initialisation = Callable[[LatentSpace, int], Start]


def start_of(space: LatentSpace, config: EmbedConfig) -> Start:
    """Return the start of each image, for the initialisation that `config` names."""
    prepare: Initialisation = INITIALISATIONS.get(config.init).resolve()
    return prepare(space, config.seed)


def mean(space: LatentSpace, seed: int) -> Start:
    """Start every image at the mean latent; in space z, at the seeded sample that is nearest to it."""
    w_avg = space.generator.w_avg.detach()
    latent = _z_nearest_to_mean(space, seed, w_avg) if space.name == "z" else w_avg.expand(space.shape).clone()
    return lambda image_id: latent.clone()


def random(space: LatentSpace, seed: int) -> Start:
    """Start each image at i.i.d. uniform values in [-1, 1], drawn from the seed and its id."""

    def drawn(image_id: str) -> torch.Tensor:
        values = random_generator_for(seed, image_id).uniform(-1.0, 1.0, space.shape)
        return torch.from_numpy(values).to(space.generator.w_avg)

    return drawn


def random_generator_for(seed: int, image_id: str) -> np.random.Generator:
    """Return a random stream that depends on the seed and the image alone, on every machine."""
    digest = hashlib.sha256(f"{seed}\n".encode() + image_id.encode()).digest()
    return np.random.Generator(np.random.PCG64(int.from_bytes(digest, "big")))


def _z_nearest_to_mean(space: LatentSpace, seed: int, w_avg: torch.Tensor) -> torch.Tensor:
    """Return the seeded sample of z that maps nearest to w_avg.

    Space z has no mean to start from: z is normalised, and 0 is singular.
    """
    stream = random_generator_for(seed, "")
    z = torch.from_numpy(stream.standard_normal((Z_CANDIDATES, *space.shape))).to(w_avg)
    with torch.no_grad():
        distance = (space.generator.map(z)[:, 0] - w_avg).square().sum(1)
    return z[distance.argmin()]
