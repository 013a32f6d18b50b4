"""Draws latents of a generator for learning, each batch from a seed of its own: the order makes no difference."""

from __future__ import annotations

import numpy as np
import torch

from i2s_batch.inversion.initialisation import random_generator_for
from i2s_batch.models import Generator

# The truncation psi of a sample is drawn from this range: near the mean latent, to a little beyond all latents of z.
TRUNCATIONS = (0.6, 1.1)
# The largest noise on a layer's latent, as a part of the deviation of w.
LARGEST_NOISE = 0.5


def mapped(generator: Generator, count: int, stream: np.random.Generator) -> torch.Tensor:
    """Return `count` latents of random z, [count, w_dim], not truncated; classes are drawn, too, if there are any."""
    like = generator.w_avg
    z = torch.from_numpy(stream.standard_normal((count, generator.z_dim))).to(like)
    with torch.no_grad():
        if not generator.c_dim:
            return generator.map(z)[:, 0]
        drawn = torch.from_numpy(stream.integers(generator.c_dim, size=count))
        labels = torch.nn.functional.one_hot(drawn, generator.c_dim).to(like)
        return generator.map(z, labels)[:, 0]


def truncated(generator: Generator, w: torch.Tensor, stream: np.random.Generator) -> torch.Tensor:
    """Return w [B, w_dim], each at a psi of its own."""
    psi = torch.from_numpy(stream.uniform(*TRUNCATIONS, (len(w), 1))).to(w)
    return generator.w_avg + psi * (w - generator.w_avg)


def plain_samples(generator: Generator, count: int, seed: int, number: int) -> torch.Tensor:
    """Return the `number`-th batch of samples, one latent for all layers: [count, w_dim]."""
    stream = random_generator_for(seed, f"plain {number}")
    return truncated(generator, mapped(generator, count, stream), stream)


def mixed_samples(generator: Generator, count: int, deviation: torch.Tensor, seed: int, number: int) -> torch.Tensor:
    """Return the `number`-th batch of W+ latents, [count, L, w_dim]: half of them mixed of two, all with noise.

    Args:
        generator: The generator.
        count: The number of latents.
        deviation: The deviation of each coordinate of w, [w_dim].
        seed: The seed.
        number: The number of the batch.
    """
    stream = random_generator_for(seed, f"mixed {number}")
    layers = generator.num_layers
    first, second = (truncated(generator, mapped(generator, count, stream), stream) for _ in range(2))
    crossover = stream.integers(1, layers, size=count)
    is_mixed = np.arange(count) % 2 == 1
    from_second = (np.arange(layers) >= crossover[:, None]) & is_mixed[:, None]
    ws = torch.where(torch.from_numpy(from_second).to(first.device)[..., None], second[:, None], first[:, None])
    strength = torch.from_numpy(stream.uniform(0, LARGEST_NOISE, (count, 1, 1))).to(ws)
    noise = torch.from_numpy(stream.standard_normal(tuple(ws.shape))).to(ws)
    return ws + strength * noise * deviation
