"""A linear "generator" and features whose embedding has a known answer."""

from __future__ import annotations

import torch


class LinearGenerator:
    """synthesize(ws) = A ws + b, reshaped to [B, 3, R, R]; map(z) repeats B z over the layers."""

    activations = None
    build_fused = None

    def __init__(self, resolution: int = 8, layers: int = 3, w_dim: int = 4, z_dim: int = 5, seed: int = 0) -> None:
        stream = torch.Generator().manual_seed(seed)
        self.c_dim = 0
        self.resolution, self.num_layers, self.w_dim, self.z_dim = resolution, layers, w_dim, z_dim
        pixels = 3 * resolution**2
        self.matrix = torch.randn(pixels, layers * w_dim, generator=stream, dtype=torch.float64) / layers
        self.mapping = torch.randn(z_dim, w_dim, generator=stream, dtype=torch.float64)
        self.w_avg = torch.randn(w_dim, generator=stream, dtype=torch.float64) * 0.1

    def map(self, z: torch.Tensor) -> torch.Tensor:
        return (z @ self.mapping)[:, None].expand(-1, self.num_layers, -1)

    def synthesize(self, ws: torch.Tensor) -> torch.Tensor:
        return (ws.flatten(1) @ self.matrix.T).reshape(-1, 3, self.resolution, self.resolution) * 0.3


def features(images: torch.Tensor) -> list[torch.Tensor]:
    """Four linear features, so that the whole loss is quadratic."""
    return [
        images * 0.5,
        images.mean((2, 3), keepdim=True),
        images[:, :1] - images[:, 1:2],
        images[..., ::2, ::2],
    ]
