"""This module lays out the noise maps of an image as one vector: layer after layer, each map row by row.

A generator adds noise to the feature maps of its layers, one map [side, side] a layer that all channels share, times
the layer's learnt strengths. The stored maps are constants of the checkpoint; an image may have maps of its own
(Image2StyleGAN++, Abdal, Qin, Wonka 2020, section 3).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch

from i2s_batch.models.weights import GeneratorWeights


@dataclass(frozen=True)
class NoiseLayout:
    """Holds the side of each noise map in pixels, in the order of the layers; empty for a family without noise."""

    sides: tuple[int, ...] = ()

    @classmethod
    def of(cls, weights: GeneratorWeights) -> NoiseLayout:
        """Return the layout of a generator's maps."""
        return cls(tuple(weights.tensors[f"layer.{i}.noise"].shape[0] for i in _noisy_layers(weights)))

    @property
    def size(self) -> int:
        """Return the number of values of an image's maps."""
        return sum(side * side for side in self.sides)

    @property
    def bytes(self) -> int:
        """Return the size of an image's maps as they are stored, in float16."""
        return 2 * self.size

    def split(self, flat: torch.Tensor) -> list[torch.Tensor]:
        """Return the maps [B, 1, side, side] of vectors [B, size], as views."""
        parts = flat.split([side * side for side in self.sides], 1)
        return [part.unflatten(1, (1, side, side)) for part, side in zip(parts, self.sides, strict=True)]

    def expanded(self, values: torch.Tensor) -> torch.Tensor:
        """Return one value for each map, [len(sides)], as one for each of the maps' values, [size]."""
        counts = torch.tensor([side * side for side in self.sides], device=values.device)
        return values.repeat_interleave(counts)


def stored_noise(weights: GeneratorWeights) -> torch.Tensor:
    """Return the noise that a checkpoint stores as one vector [size], float64."""
    maps = [weights.tensors[f"layer.{i}.noise"] for i in _noisy_layers(weights)]
    return torch.from_numpy(np.concatenate([np.zeros(0), *(each.astype(np.float64).ravel() for each in maps)]))


def noise_strengths(weights: GeneratorWeights) -> torch.Tensor:
    """Return the strength of each map, float64 [maps]: the root mean square over the channels of its layer."""
    strengths = [weights.tensors[f"layer.{i}.noise_strength"] for i in _noisy_layers(weights)]
    values = [float(np.sqrt(np.square(each.astype(np.float64)).mean())) for each in strengths]
    return torch.tensor(values, dtype=torch.float64)


def _noisy_layers(weights: GeneratorWeights) -> list[int]:
    return [i for i in range(weights.settings.latents) if f"layer.{i}.noise" in weights.tensors]
