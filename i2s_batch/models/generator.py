"""This module holds what all generators have in common: sizes, mapping with truncation, and checked arguments."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import nn

from i2s_batch.errors import ConfigError
from i2s_batch.models.mapping import Mapping
from i2s_batch.models.network_layout import check_weights
from i2s_batch.models.noise_maps import NoiseLayout, noise_strengths, stored_noise
from i2s_batch.models.operators import frozen
from i2s_batch.models.weights import GeneratorWeights


class Generator(nn.Module):
    """Holds a frozen StyleGAN generator. Every weight is a buffer; gradients flow to the latents only.

    `resolution` R in pixels, `num_layers` L, `z_dim`, `w_dim`, `c_dim` (classes, 0 if unconditional), `w_avg`
    [w_dim], `family`, `fingerprint` (sha256 hex), `origin`, `noise_layout` (empty for a family without noise),
    `stored_noise` [noise_layout.size], `noise_strengths` [maps].
    """

    w_avg: torch.Tensor
    stored_noise: torch.Tensor
    noise_strengths: torch.Tensor
    activations: torch.dtype | None = None  # the dtype of feature maps, where `build_generator` has set one
    # Builds the same synthesis in the operators of the compiled step, for a memory layout; None where there are none.
    build_fused: Callable[[str], Callable[[torch.Tensor], torch.Tensor]] | None = None

    def __init__(self, weights: GeneratorWeights) -> None:
        super().__init__()
        self.widths = check_weights(weights)
        self.resolution = weights.settings.resolution
        self.num_layers = weights.latent_shape[0]
        self.z_dim, self.w_dim = self.widths.z, self.widths.w
        self.c_dim = weights.settings.c_dim
        self.family, self.fingerprint, self.origin = weights.family, weights.fingerprint, weights.origin
        self.mapping = Mapping(weights)
        self.register_buffer("w_avg", frozen(weights.tensors["w_avg"]))
        self.noise_layout = NoiseLayout.of(weights)
        self.register_buffer("stored_noise", stored_noise(weights))
        self.register_buffer("noise_strengths", noise_strengths(weights))

    def map(
        self,
        z: torch.Tensor,
        labels: torch.Tensor | None = None,
        truncation_psi: float = 1.0,
        truncation_cutoff: int | None = None,
    ) -> torch.Tensor:
        """Map `z` [B, z_dim] (`labels` [B, c_dim], one-hot, if conditional) to W+ latents [B, L, w_dim].

        The layers below `truncation_cutoff` (None: all) are drawn towards the mean: w_avg + psi (w - w_avg).
        Raises ConfigError for wrong shapes, and for missing or needless labels.
        """
        self._check("z", z, (z.shape[0] if z.ndim else 0, self.z_dim))
        if labels is None and self.c_dim:
            raise ConfigError(f"this generator is conditional: give labels [{z.shape[0]}, {self.c_dim}], one-hot")
        if labels is not None and not self.c_dim:
            raise ConfigError("this generator has no classes: give no labels")
        if labels is not None:
            self._check("labels", labels, (z.shape[0], self.c_dim))
        w: torch.Tensor = self.mapping(z, labels)
        ws = w[:, None].expand(-1, self.num_layers, -1)
        if truncation_psi == 1:
            return ws
        cutoff = self.num_layers if truncation_cutoff is None else truncation_cutoff
        truncated = self.w_avg + truncation_psi * (ws[:, :cutoff] - self.w_avg)
        return torch.cat([truncated, ws[:, cutoff:]], 1)

    def synthesize(self, ws: torch.Tensor) -> torch.Tensor:
        """Map W+ latents [B, L, w_dim] to images [B, 3, R, R], with the stored noise.

        Images are unclipped, their nominal range is [-1, 1]. Raises ConfigError for another shape.
        """
        self._check_ws(ws)
        return self._synthesis(ws)

    def synthesize_with_noise(self, ws: torch.Tensor, noise: torch.Tensor) -> torch.Tensor:
        """Map W+ latents [B, L, w_dim] and noise maps [B, noise_layout.size] to images, as `synthesize`.

        Gradients flow to both. Raises ConfigError for other shapes, and for a family without noise.
        """
        self._check_ws(ws)
        if not self.noise_layout.sides:
            raise ConfigError(f"a {self.family} generator has no noise maps; synthesize without them")
        self._check("noise", noise, (ws.shape[0], self.noise_layout.size))
        return self._synthesis(ws, self.noise_layout.split(noise))

    def _check_ws(self, ws: torch.Tensor) -> None:
        self._check("ws", ws, (ws.shape[0] if ws.ndim else 0, self.num_layers, self.w_dim))

    def _synthesis(self, ws: torch.Tensor, noise: Sequence[torch.Tensor] | None = None) -> torch.Tensor:
        raise NotImplementedError

    @staticmethod
    def _check(name: str, tensor: torch.Tensor, expected: tuple[int, ...]) -> None:
        if tuple(tensor.shape) != expected:
            raise ConfigError(f"{name} has the shape {list(tensor.shape)}; {['B', *expected[1:]]} is needed")
