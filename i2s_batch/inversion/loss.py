"""Implements the objective of Image2StyleGAN, eq. (1) and (2): per image, never mixed over the batch."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch

from i2s_batch.config import TERMS, LossWeights

# The perceptual network: images [B, 3, R, R] in [-1, 1] -> feature maps of TERMS[1:], each [B, C, h, w].
Features = Callable[[torch.Tensor], Sequence[torch.Tensor]]


class MeanSquare(torch.autograd.Function):
    """Computes (1 / N) ||a - b||^2 of each image: [B, ...] and [B, ...] -> [B]; the gradient is that of `a` alone.

    It keeps its two operands, which exist anyway, instead of their difference. The sums are over the axes as they are:
    flattening channels-last activations would read them across their memory.
    """

    @staticmethod
    def forward(ctx: Any, a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
        """Return the mean square of each image, [B]."""
        ctx.save_for_backward(a, b)
        d = _difference(a, b)
        return (d * d).mean(tuple(range(1, d.ndim)))

    @staticmethod
    def backward(ctx: Any, gradient: torch.Tensor) -> Any:
        """Return the gradient with respect to `a`; None for `b`."""
        a, b = ctx.saved_tensors
        gain = gradient * (2 * len(a) / a.numel())
        of_a = _difference(a, b) * gain.reshape(-1, *[1] * (a.ndim - 1))
        # No `to` of the same dtype: PyTorch 2.11's compiler would lose the gradient in it.
        return of_a if of_a.dtype == a.dtype else of_a.to(a.dtype), None


def _difference(a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
    """Return a - b, in float32 where they are bfloat16."""
    return a.float() - b.float() if a.dtype == torch.bfloat16 else a - b


def mean_square(a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
    """Return (1 / N) ||a - b||^2 of each image, [B], in float32 where they are bfloat16. `b` gets no gradient."""
    result: torch.Tensor = MeanSquare.apply(a, b)
    return result


def loss_terms(
    images: torch.Tensor,
    targets: torch.Tensor,
    features: Sequence[torch.Tensor],
    target_features: Sequence[torch.Tensor],
) -> torch.Tensor:
    """Return the terms of each image before their weights, in the order of `TERMS`: [B, 5].

    `images` and `targets` are [B, 3, R, R] with a nominal range of [-1, 1]; the pixel term is taken at full
    resolution and without clipping.
    """
    pairs = zip(features, target_features, strict=True)
    return torch.stack([mean_square(images, targets), *(mean_square(f, t) for f, t in pairs)], dim=1)


def loss_weight_vector(weights: LossWeights, like: torch.Tensor) -> torch.Tensor:
    """Return the weights of the terms as a vector [5], with the dtype and device of `like`."""
    return torch.tensor([getattr(weights, term) for term in TERMS], dtype=like.dtype, device=like.device)
