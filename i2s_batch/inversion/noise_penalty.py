"""Computes the penalty that keeps noise maps from saying what the latent should say."""

from __future__ import annotations

import torch


def distance_penalty(maps: torch.Tensor, stored: torch.Tensor) -> torch.Tensor:
    """Return (1 / N) ||n - n_0||^2 of each image: maps [B, N], stored [N] -> [B].

    Stored noise has unit variance, so that 1 means: as far from it as another draw of noise would be on average / sqrt 2.
    """
    return (maps - stored).square().mean(1)
