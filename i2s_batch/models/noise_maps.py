"""This module lays out the noise maps of an image as one vector: layer after layer, each map row by row.

A generator adds noise to the feature maps of its layers, one map [side, side] a layer that all channels share, times
the layer's learnt strengths. The stored maps are constants of the checkpoint; an image may have maps of its own
(Image2StyleGAN++, Abdal, Qin, Wonka 2020, section 3).
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch

from i2s_batch.models.weights import GeneratorWeights


@dataclass(frozen=True)
class NoiseLayout:
    """Holds the side of each noise map in pixels, in the order of the layers; empty for a family without noise."""

    sides: tuple[int, ...] = ()

    @classmethod
    def of(cls, weights: GeneratorWeights) -> NoiseLayout:
        """Return the layout of a generator's maps."""
        layers = range(weights.settings.latents)
        shapes = [weights.tensors[name].shape for i in layers if (name := f"layer.{i}.noise") in weights.tensors]
        return cls(tuple(int(shape[0]) for shape in shapes))

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


def stored_noise(weights: GeneratorWeights) -> torch.Tensor:
    """Return the noise that a checkpoint stores as one vector [size], float64."""
    layers = range(weights.settings.latents)
    names = [name for i in layers if (name := f"layer.{i}.noise") in weights.tensors]
    maps = [torch.tensor(weights.tensors[name].astype("float64")).flatten() for name in names]
    size = sum(math.prod(each.shape) for each in maps)
    return torch.cat(maps) if size else torch.zeros(0, dtype=torch.float64)
