"""Estimates the Gauss-Newton blocks of the loss: B_l = E[J_l' J_l], from random projections of the residuals."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import torch

from i2s_batch.config import TERMS, LossWeights
from i2s_batch.inversion.initialisation import random_generator_for
from i2s_batch.inversion.loss import Features
from i2s_batch.inversion.spaces import GeneratorLike

PROBES = 4  # of each latent: the forward pass is shared


def gauss_newton_blocks(
    generator: GeneratorLike, features: Features, weights: LossWeights, ws: torch.Tensor, seed: int, label: str
) -> torch.Tensor:
    """Return the sum over latents and probes of g_l g_l', [L, w_dim, w_dim], of W+ latents `ws` [B, L, w_dim].

    The loss is the sum of squares of r = (sqrt(lambda_j / N_j) F_j(G(w))) less the same of the target, and J is the
    Jacobian of r. With v ~ N(0, I), g = J'v has E[g g'] = J'J. The v of a latent come from `seed`, `label` and its
    index.
    """
    leaf = ws.detach().requires_grad_()
    with torch.enable_grad():
        images = generator.synthesize(leaf)
        outputs = [images, *features(images)]
        scaled = [math.sqrt(weight / output[0].numel()) for weight, output in zip(_of(weights), outputs, strict=True)]
        total = ws.new_zeros(ws.shape[1], ws.shape[2], ws.shape[2])
        for probe in range(PROBES):
            directions = _directions(outputs, seed, f"{label} {probe}")
            pairs = zip(scaled, directions, outputs, strict=True)
            projected = torch.stack([s * (v * output).sum() for s, v, output in pairs]).sum()
            (g,) = torch.autograd.grad(projected, leaf, retain_graph=probe + 1 < PROBES)
            total += torch.einsum("bli,blj->lij", g, g)
    return total


def _of(weights: LossWeights) -> list[float]:
    return [getattr(weights, term) for term in TERMS]


def _directions(outputs: Sequence[torch.Tensor], seed: int, label: str) -> list[torch.Tensor]:
    """Return standard normal numbers in the shapes of `outputs`, drawn on the CPU: the same on every device."""
    number = int.from_bytes(random_generator_for(seed, label).bytes(7), "big")
    stream = torch.Generator().manual_seed(number)
    drawn = (torch.randn(tuple(output.shape), generator=stream) for output in outputs)
    return [v.to(output.device, output.dtype) for v, output in zip(drawn, outputs, strict=True)]


def covariance_of(w: torch.Tensor, mean: torch.Tensor) -> np.ndarray:
    """Return the mean of (w - mean) (w - mean)', float64 [w_dim, w_dim], of latents [N, w_dim]."""
    offset = (w - mean).double().cpu()
    matrix: np.ndarray = (offset.T @ offset / len(offset)).numpy()
    return matrix
