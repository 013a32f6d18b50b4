"""This module holds the operators of the synthesis networks.

Everything works on frozen weights and is differentiable in `x`.
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
    """Return `array` * `scale` as a float64 tensor of its own: shared arrays may be read-only."""
    return torch.tensor(array.astype(np.float64) * scale)


def blur_kernel(taps: tuple[float, ...], gain: float = 1.0) -> torch.Tensor:
    """Return the outer product of `taps` with themselves, of sum `gain`: float64 [1, 1, k, k]."""
    line = torch.tensor(taps, dtype=torch.float64)
    kernel = line[:, None] * line[None, :]
    return (kernel * (gain / kernel.sum()))[None, None]


def depthwise(x: torch.Tensor, kernel: torch.Tensor, bias: torch.Tensor | None = None) -> torch.Tensor:
    """Correlate each channel of `x` [B, C, H, W], padded with one zero, with `kernel` [C, 1, k, k]; add bias [C]."""
    return F.conv2d(x, kernel, bias, padding=1, groups=x.shape[1])


def clamped(x: torch.Tensor, limit: float | None) -> torch.Tensor:
    """Return `x` limited to -`limit` .. `limit`; None: as it is."""
    return x if limit is None else x.clamp(-limit, limit)


def upsample_fir(x: torch.Tensor, kernel: torch.Tensor) -> torch.Tensor:
    """Turn [B, C, H, W] into [B, C, 2H, 2W] by zero insertion and a 4-tap filter `kernel` [1, 1, 4, 4] of gain 4.

    Channels are taken as images: a depthwise transposed convolution is slow on a CPU.
    """
    batch, channels, height, width = x.shape
    images = x.reshape(batch * channels, 1, height, width)
    return F.conv_transpose2d(images, kernel, stride=2, padding=1).reshape(batch, channels, 2 * height, 2 * width)


def upsample_separable(x: torch.Tensor, kernel: torch.Tensor, factor: int, crops: tuple[int, ...]) -> torch.Tensor:
    """Insert zeros between the pixels of `x` [B, C, H, W], then convolve with full overlap along both axes.

    `kernel` [C, 1, n]; `crops`: what is cut off left, right, above and below (negative: zeros are added).
    """
    channels = x.shape[1]
    for axis, weight, (before, after) in ((2, kernel[..., None], crops[2:]), (3, kernel[:, :, None], crops[:2])):
        # What both sides lose need not be computed.
        cut = max(0, min(before, after))
        along = (factor, 1), (cut, 0)
        stride, padding = along if axis == 2 else (pair[::-1] for pair in along)
        x = F.conv_transpose2d(x, weight, None, stride, padding, groups=channels)
        if (before, after) != (cut, cut):
            x = F.pad(x, ((0, 0) if axis == 2 else ()) + (cut - before, cut - after))
    return x


def downsample(x: torch.Tensor, kernel: torch.Tensor, factor: int) -> torch.Tensor:
    """Return every `factor`-th sample of `x` [B, C, H, W], from the first, after a correlation without padding.

    `kernel`: [C, 1, n] along both axes, or [C, 1, n, n].
    """
    channels = x.shape[1]
    if kernel.ndim == 4:
        return F.conv2d(x, kernel, None, factor, groups=channels)
    x = F.conv2d(x, kernel[..., None], None, (factor, 1), groups=channels)
    return F.conv2d(x, kernel[:, :, None], None, (1, factor), groups=channels)


def nearest_then_conv_kernel(weight: torch.Tensor) -> torch.Tensor:
    """Return the kernel [in, out, 4, 4] that upsamples by nearest neighbour and correlates with `weight` in one.

    Its transposed convolution (stride 2, padding 1) equals nearest upsampling followed by a correlation with `weight`
    [out, in, 3, 3]: 16 products an input pixel instead of 36.
    """
    summed = sum(F.pad(weight, (a, 1 - a, b, 1 - b)) for a in (0, 1) for b in (0, 1))
    assert isinstance(summed, torch.Tensor)
    return summed.flip(2, 3).transpose(0, 1).contiguous()


def styled_instance_norm(x: torch.Tensor, scale: torch.Tensor, shift: torch.Tensor) -> torch.Tensor:
    """Return (x - mean) / sqrt(biased variance + 1e-8) * scale + shift over each channel of each image.

    `x` [B, C, H, W]; `scale`, `shift` [B, C]. Every (image, channel) is a channel of one batch norm: a single
    fused kernel forward and backward, which sums in float32 where `x` is bfloat16.
    """
    flat = x.reshape(1, -1, x.shape[2], x.shape[3])
    normed = F.batch_norm(flat, None, None, scale.reshape(-1), shift.reshape(-1), training=True, eps=1e-8)
    return normed.reshape(x.shape)


def normalize_mean_square(x: torch.Tensor) -> torch.Tensor:
    """Return `x` [B, n] divided by the root of its mean square (epsilon 1e-8 inside)."""
    return x * torch.rsqrt(x.square().mean(1, keepdim=True) + 1e-8)
