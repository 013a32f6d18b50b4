"""Operators of the two synthesis networks. Everything works on frozen weights and is differentiable in `x`.

An image's result does not depend on its neighbours: weights are shared by the batch, styles act on activations.
"""

from __future__ import annotations

import math

import numpy as np
import torch
import torch.nn.functional as F

LRELU_SLOPE = 0.2
SQRT2 = math.sqrt(2.0)


def frozen(array: np.ndarray, scale: float = 1.0) -> torch.Tensor:
    """`array` * `scale` as a float64 tensor of its own: shared arrays may be read-only."""
    return torch.tensor(array.astype(np.float64) * scale)


def blur_kernel(taps: tuple[float, ...], gain: float = 1.0) -> torch.Tensor:
    """The outer product of `taps` with themselves, of sum `gain`: float64 [1, 1, k, k]."""
    line = torch.tensor(taps, dtype=torch.float64)
    kernel = line[:, None] * line[None, :]
    return (kernel * (gain / kernel.sum()))[None, None]


def depthwise(x: torch.Tensor, kernel: torch.Tensor, bias: torch.Tensor | None = None) -> torch.Tensor:
    """Each channel of `x` [B, C, H, W], padded with one zero, correlated with `kernel` [C, 1, k, k]; + bias [C]."""
    return F.conv2d(x, kernel, bias, padding=1, groups=x.shape[1])


def upsample_fir(x: torch.Tensor, kernel: torch.Tensor) -> torch.Tensor:
    """[B, C, H, W] -> [B, C, 2H, 2W] by zero insertion and a 4-tap filter `kernel` [1, 1, 4, 4] of gain 4.

    Channels are taken as images: a depthwise transposed convolution is slow on a CPU.
    """
    batch, channels, height, width = x.shape
    images = x.reshape(batch * channels, 1, height, width)
    return F.conv_transpose2d(images, kernel, stride=2, padding=1).reshape(batch, channels, 2 * height, 2 * width)


def nearest_then_conv_kernel(weight: torch.Tensor) -> torch.Tensor:
    """The kernel [in, out, 4, 4] whose transposed convolution (stride 2, padding 1) equals nearest upsampling
    followed by a correlation with `weight` [out, in, 3, 3]: 16 products an input pixel instead of 36."""
    summed = sum(F.pad(weight, (a, 1 - a, b, 1 - b)) for a in (0, 1) for b in (0, 1))
    assert isinstance(summed, torch.Tensor)
    return summed.flip(2, 3).transpose(0, 1).contiguous()


def styled_instance_norm(x: torch.Tensor, scale: torch.Tensor, shift: torch.Tensor) -> torch.Tensor:
    """(x - mean) / sqrt(biased variance + 1e-8) * scale + shift over each channel of each image.

    `x` [B, C, H, W]; `scale`, `shift` [B, C]. Every (image, channel) is a channel of one batch norm: a single
    fused kernel forward and backward.
    """
    flat = x.reshape(1, -1, x.shape[2], x.shape[3])
    normed = F.batch_norm(flat, None, None, scale.reshape(-1), shift.reshape(-1), training=True, eps=1e-8)
    return normed.reshape(x.shape)


def normalize_mean_square(x: torch.Tensor) -> torch.Tensor:
    """`x` [B, n] divided by the root of its mean square (epsilon 1e-8 inside)."""
    return x * torch.rsqrt(x.square().mean(1, keepdim=True) + 1e-8)
