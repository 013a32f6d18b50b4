"""Untrained networks of official widths, drawn once for all processes, and the images that are embedded."""

from __future__ import annotations

import pickle
import time
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np

from tests.gpu.bench import Options

_WAIT_S = 60.0
FEATURES = 15_104  # of the regression, at VGG-16's widths


def draw_networks(options: Options, families: Iterable[str]) -> None:
    """Draw the VGG-16 and a generator of each family, and write them where the processes look for them."""
    from i2s_batch.models import random_generator, random_vgg

    sizes: dict[str, Any] = {"width": 16, "channel_base": 256} if options.smoke else {}
    _write(options, "vgg", random_vgg(narrow=16 if options.smoke else 1))
    for family in sorted(set(families)):
        resolution = 16 if family == "stylegan3" and options.smoke else options.resolution
        _write(options, family, random_generator(family, resolution, **sizes))


def _write(options: Options, name: str, weights: Any) -> None:
    new = Path(options.work, f"{name}.new")
    new.write_bytes(pickle.dumps(weights))
    new.replace(Path(options.work, f"{name}.pickle"))


def drawn_network(options: Options, name: str) -> Any:
    """Return the weights of `vgg` or of a family; waits while they are being drawn."""
    path = Path(options.work, f"{name}.pickle")
    deadline = time.monotonic() + _WAIT_S
    while not path.exists() and time.monotonic() < deadline:
        time.sleep(0.1)
    with path.open("rb") as file:
        return pickle.load(file)


def image(resolution: int, seed: int) -> np.ndarray:
    """Draw shades, discs and some noise, uint8 [R, R, 3]: the same for a seed everywhere."""
    stream = np.random.default_rng(seed)
    y, x = np.mgrid[0:resolution, 0:resolution] / resolution
    pixels = np.stack([x, y, (x + y) / 2], -1) * stream.uniform(0.4, 1.0, 3)
    for _ in range(12):
        centre, radius = stream.uniform(0, 1, 2), stream.uniform(0.03, 0.25)
        pixels[(x - centre[0]) ** 2 + (y - centre[1]) ** 2 < radius**2] = stream.uniform(0, 1, 3)
    pixels += stream.normal(0, 0.02, pixels.shape)
    return (pixels.clip(0, 1) * 255).round().astype(np.uint8)


def neutral_learned(generator: Any, vgg: Any) -> Any:
    """Return a learned file of these networks that knows nothing: every curvature 1, every start the mean latent."""
    import torch

    from i2s_batch.config import LossWeights
    from i2s_batch.inversion.learned import Learned

    layers, w_dim = generator.num_layers, generator.w_dim
    one = torch.eye(w_dim)
    return Learned(
        generator=generator.fingerprint,
        vgg=vgg.fingerprint,
        weights=LossWeights(),
        blocks=one.expand(layers, w_dim, w_dim).clone(),
        covariance=one,
        feature_mean=torch.zeros(FEATURES),
        feature_scale=torch.ones(FEATURES),
        coefficients=torch.zeros(FEATURES, w_dim),
        start_mean=torch.zeros(w_dim),
        samples=1,
        origin="",
    )
