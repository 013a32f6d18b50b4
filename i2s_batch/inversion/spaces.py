"""Defines the latent spaces W+, W and Z: which variable is optimised, and the W+ latent that it stands for."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

import torch

from i2s_batch.config import EmbedConfig
from i2s_batch.errors import ConfigError
from i2s_batch.models.noise_maps import NoiseLayout


class GeneratorLike(Protocol):
    """Describes what the engine requires of a generator; the tests embed with a linear one whose solution is known.

    Attributes:
        resolution: R, in pixels.
        num_layers: L.
        z_dim: Size of z.
        w_dim: Size of a layer's latent.
        c_dim: Size of the label; 0 without labels.
        w_avg: The mean latent, [w_dim].
        activations: The dtype of feature maps; None for that of `w_avg`.
        build_fused: Builds the same synthesis in the operators of compiled steps, for a memory layout (nchw or nhwc);
            None where there are none.
    """

    resolution: int
    num_layers: int
    z_dim: int
    w_dim: int
    c_dim: int
    w_avg: torch.Tensor
    activations: torch.dtype | None
    build_fused: Callable[[str], Callable[[torch.Tensor], torch.Tensor]] | None

    def map(self, z: torch.Tensor) -> torch.Tensor:
        """Return the W+ latents [B, L, w_dim] of z [B, z_dim]."""

    def synthesize(self, ws: torch.Tensor) -> torch.Tensor:
        """Return the images [B, 3, R, R] of W+ latents [B, L, w_dim], unclipped."""


class NoiseGenerator(GeneratorLike, Protocol):
    """Describes what the noise stage requires of a generator beside that.

    Attributes:
        noise_layout: The maps as one vector of `noise_layout.size` values; empty for a family without noise.
        stored_noise: The maps of the checkpoint, [noise_layout.size].
        noise_strengths: What each map is multiplied with, about, before it meets the feature maps: [maps].
    """

    noise_layout: NoiseLayout
    stored_noise: torch.Tensor
    noise_strengths: torch.Tensor

    def synthesize_with_noise(self, ws: torch.Tensor, noise: torch.Tensor) -> torch.Tensor:
        """Return the images of latents [B, L, w_dim] with noise maps [B, noise_layout.size], gradients to both."""


class LatentSpace:
    """Represents one of W+ (variable [L, w_dim]), W ([w_dim]) and Z ([z_dim]) of a given generator."""

    def __init__(self, generator: GeneratorLike, config: EmbedConfig) -> None:
        if config.space == "z" and generator.c_dim:
            raise ConfigError("space z is not available for a conditional generator; use --space w+ or w")
        self.name = config.space
        self.generator = generator
        layers, w_dim = generator.num_layers, generator.w_dim
        self.shape = {"w+": (layers, w_dim), "w": (w_dim,), "z": (generator.z_dim,)}[config.space]

    def to_ws(self, variable: torch.Tensor) -> torch.Tensor:
        """Return the W+ latents [B, L, w_dim] that a batch of variables [B, *shape] stands for."""
        if self.name == "w+":
            return variable
        if self.name == "w":
            return variable[:, None].expand(-1, self.generator.num_layers, -1)
        return self.generator.map(variable)
