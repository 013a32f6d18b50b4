"""Synthesises the images of latents, one or a batch: the functions for all parts that draw."""

from __future__ import annotations

import numpy as np
import torch

from i2s_batch.inversion.metrics import to_uint8
from i2s_batch.models import Generator


def synthesised(latent: np.ndarray, generator: Generator, noise: np.ndarray | None = None) -> torch.Tensor:
    """Return the image of a latent, float32 [L * w_dim] or [L, w_dim], as [1, 3, R, R], unclipped.

    `noise` [noise_layout.size] are its noise maps; None for the stored ones.
    """
    latents = torch.from_numpy(np.array(latent, np.float32)).reshape(1, generator.num_layers, generator.w_dim)
    with torch.no_grad():
        if noise is None:
            return generator.synthesize(latents.to(generator.w_avg))
        maps = torch.from_numpy(np.array(noise)).to(generator.w_avg)[None]
        return generator.synthesize_with_noise(latents.to(generator.w_avg), maps)


def image_of(latent: np.ndarray, generator: Generator, noise: np.ndarray | None = None) -> np.ndarray:
    """Return the image of a latent as uint8 [R, R, 3]."""
    return to_uint8(synthesised(latent, generator, noise)[0])


def images_of(latents: np.ndarray, generator: Generator, noise: np.ndarray | None = None) -> list[np.ndarray | None]:
    """Return the images of latents, float32 [n, L, w_dim], drawn in one batch.

    Each is uint8 [R, R, 3], or None where it has values that are not finite.

    Args:
        latents: The latents.
        generator: The generator.
        noise: Their noise maps, [n, noise_layout.size]; None for the stored ones.
    """
    ws = torch.from_numpy(latents).to(generator.w_avg)
    with torch.no_grad():
        if noise is None:
            images = generator.synthesize(ws)
        else:
            images = generator.synthesize_with_noise(ws, torch.from_numpy(noise).to(generator.w_avg))
    finite = images.isfinite().flatten(1).all(1).tolist()
    return [to_uint8(image) if is_finite else None for image, is_finite in zip(images, finite, strict=True)]
