"""Computes the penalty that keeps noise maps from saying what the latent should say."""

from __future__ import annotations

import torch


def distance_penalty(maps: torch.Tensor, stored: torch.Tensor) -> torch.Tensor:
    """Return (1 / N) ||n - n_0||^2 of each image: maps [B, N], stored [N] -> [B].

    Stored noise has unit variance, so that 1 means: off by one standard deviation.
    """
    return (maps - stored).square().mean(1)
