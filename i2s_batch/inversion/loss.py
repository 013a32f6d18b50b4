"""The objective of Image2StyleGAN, eq. (1) and (2): per image, never mixed over the batch."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch

from i2s_batch.config import LossWeights
from i2s_batch.records import TERMS

# The perceptual network: images [B, 3, R, R] in [-1, 1] -> feature maps of TERMS[1:], each [B, C, h, w].
Features = Callable[[torch.Tensor], Sequence[torch.Tensor]]


def mean_square(a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
    """(1 / N) ||a - b||^2 of each image: [B, ...] and [B, ...] -> [B], in float32 where they are bfloat16."""
    if a.dtype == torch.bfloat16:
        a, b = a.float(), b.float()
    return (a - b).square().flatten(1).mean(1)


def loss_terms(
    images: torch.Tensor,
    targets: torch.Tensor,
    features: Sequence[torch.Tensor],
    target_features: Sequence[torch.Tensor],
) -> torch.Tensor:
    """The terms of each image before their weights, in the order of `TERMS`: [B, 5].

    `images` and `targets` are [B, 3, R, R] with a nominal range of [-1, 1]; the pixel term is taken at full
    resolution and without clipping.
    """
    pairs = zip(features, target_features, strict=True)
    return torch.stack([mean_square(images, targets), *(mean_square(f, t) for f, t in pairs)], dim=1)


def lambdas(weights: LossWeights, like: torch.Tensor) -> torch.Tensor:
    """The weights of the terms as a vector [5], with the dtype and device of `like`."""
    return torch.tensor([getattr(weights, term) for term in TERMS], dtype=like.dtype, device=like.device)
