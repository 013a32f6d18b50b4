"""Computes the penalty that keeps noise maps from saying what the latent should say."""

from __future__ import annotations

import torch


def distance_penalty(effects: torch.Tensor, stored: torch.Tensor) -> torch.Tensor:
    """Return (1 / N) ||u - u_0||^2 of each image: effects [B, N], those of the stored noise [N] -> [B].

    Taken of the effects, strength times map, not of the maps: coarse layers, whose strengths are large and whose noise
    could say what the latent should say, are held back; fine layers have weak strengths and are free to draw texture.
    """
    return (effects - stored).square().mean(1)
