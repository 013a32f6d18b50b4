"""The latents of seeds."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch

from i2s_batch.editing.latent_sources import LoadedLatents
from i2s_batch.editing.sampling.settings import SampleSettings
from i2s_batch.editing.units import EditImage
from i2s_batch.models import GeneratorWeights, build_generator


class SeedLatents:
    """Maps seeds to W+ latents, on the CPU and in float64: a seed has one latent, whatever the batch and the device."""

    def __init__(self, weights: GeneratorWeights, settings: SampleSettings) -> None:
        """Take settings that are `resolved` for these weights."""
        self._generator = build_generator(weights, "cpu", torch.float64)
        self._settings = settings

    def of(self, seeds: Sequence[int]) -> np.ndarray:
        """Return the latents of some seeds, float32 [n, L, w_dim]; of a large psi or broken weights not finite.

        The official programs draw each z by itself, with NumPy's RandomState(seed), and round it to float32.
        """
        z_dim, classes = self._generator.z_dim, self._generator.c_dim
        drawn = [np.random.RandomState(seed).randn(1, z_dim).astype(np.float32) for seed in seeds]
        z = torch.from_numpy(np.concatenate(drawn)).double()
        labels = None
        if self._settings.label is not None:
            labels = torch.zeros(len(seeds), classes, dtype=torch.float64)
            labels[:, self._settings.label] = 1
        with torch.no_grad():
            ws = self._generator.map(z, labels, self._settings.psi, self._settings.cutoff)
        with np.errstate(over="ignore", invalid="ignore"):
            return ws.numpy().astype(np.float32)

    def load(self, images: Sequence[EditImage]) -> LoadedLatents:
        """Return the latents of planned images, each of which has a seed."""
        seeds = [image.seed for image in images if image.seed is not None]
        latents = self.of(seeds)
        finite = np.isfinite(latents).all(axis=(1, 2))
        missing: dict[int, Exception] = {
            int(index): FloatingPointError(f"the latent of seed {seeds[index]} is not finite in float32")
            for index in np.flatnonzero(~finite)
        }
        return LoadedLatents(latents, missing)
