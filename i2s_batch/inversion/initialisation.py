"""Defines where the optimisation of an image starts: the initialisations by name (`engine_registries.INITIALISATIONS`).

An initialisation prepares, for a latent space and a seed, what gives each image its start.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np
import torch

from i2s_batch.config import EmbedConfig
from i2s_batch.engine_registries import INITIALISATIONS
from i2s_batch.inversion.learned import Learned
from i2s_batch.inversion.spaces import LatentSpace

# How many seeded samples the mean start of space z is chosen from.
Z_CANDIDATES = 4096


class Target(NamedTuple):
    """Holds an image that gets a start.

    Attributes:
        image_id: Its id.
        pixels: [1, 3, R, R] in [-1, 1].
        features: Its feature maps, each [1, C, h, w].
    """

    image_id: str
    pixels: torch.Tensor
    features: Sequence[torch.Tensor]


# image -> the variable [*space shape] before the first update, like the generator's `w_avg`; a tensor of its own.
Start = Callable[[Target], torch.Tensor]
# (space, seed) -> the start of each image
Initialisation = Callable[[LatentSpace, int], Start]
# The same for those that need a learned file.
LearnedInitialisation = Callable[[LatentSpace, int, Learned], Start]


def start_of(space: LatentSpace, config: EmbedConfig, learned: Learned | None) -> Start:
    """Return the start of each image, for the initialisation that `config` names."""
    declaration = INITIALISATIONS.get(config.init)
    if declaration.needs_learned:
        assert learned is not None
        prepare_learned: LearnedInitialisation = declaration.resolve()
        return prepare_learned(space, config.seed, learned)
    prepare: Initialisation = declaration.resolve()
    return prepare(space, config.seed)


def mean(space: LatentSpace, seed: int) -> Start:
    """Start every image at the mean latent; in space z, at the seeded sample that is nearest to it."""
    w_avg = space.generator.w_avg.detach()
    latent = _z_nearest_to_mean(space, seed, w_avg) if space.name == "z" else w_avg.expand(space.shape).clone()
    return lambda target: latent.clone()


def random(space: LatentSpace, seed: int) -> Start:
    """Start each image at i.i.d. uniform values in [-1, 1], drawn from the seed and its id."""

    def drawn(target: Target) -> torch.Tensor:
        values = random_generator_for(seed, target.image_id).uniform(-1.0, 1.0, space.shape)
        return torch.from_numpy(values).to(space.generator.w_avg)

    return drawn


def learned(space: LatentSpace, seed: int, learned: Learned) -> Start:
    """Start every image at what the learned regression predicts from it, the same latent in every layer."""

    def predicted(target: Target) -> torch.Tensor:
        latent = learned.start(target.pixels, target.features, space.generator.w_avg.detach())[0]
        return latent.expand(space.shape).clone()

    return predicted


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
