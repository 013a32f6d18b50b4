"""This module holds operators of the compiled step on a GPU: few passes over memory, little kept for the backward pass.

They equal the plain operators up to rounding, in any layout; in float32 or bfloat16, sums are taken in float32. Only
activations and styles get gradients: the weights and noise inputs of a generator are frozen. Each backward formula is
written out, so that a compiler fuses it with its neighbours instead of storing what is between.

Never end a `forward` with a conversion that converts nothing: the compiler of PyTorch 2.11 then loses the gradient
without an error (`cast` guards against it).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
import torch.nn.functional as F

from i2s_batch.models.operators import LRELU_SLOPE


def cast(x: torch.Tensor, dtype: torch.dtype) -> torch.Tensor:
    """Return `x` as `dtype`, and `x` itself where it has that dtype already."""
    return x if x.dtype == dtype else x.to(dtype)


def wide(x: torch.Tensor) -> torch.Tensor:
    """Return `x` in float32 where it is bfloat16: the dtype of sums."""
    return cast(x, torch.float32) if x.dtype == torch.bfloat16 else x


class StyledActivation(torch.autograd.Function):
    """Apply noise, bias, leaky ReLU, instance norm and style of StyleGAN1 as one operator.

    Args:
        t: [B, G, C, H, W], what a convolution gave; the pixels of a channel are spread over G groups.
        bias: [C].
        noise: [G, 1, H, W].
        strength: [C, 1, 1], of the noise.
        scale, shift: [B, C], the style.

    With x = leaky_relu(t + noise * strength + bias) the result is (x - mean) / sqrt(variance + 1e-8) * scale + shift,
    mean and variance over the pixels of each channel of each image. The gradient of `t` is A g + B x + D times the
    slope, with A, B and D for each image and channel.
    """

    @staticmethod
    def forward(
        ctx: Any,
        t: torch.Tensor,
        bias: torch.Tensor,
        noise: torch.Tensor,
        strength: torch.Tensor,
        scale: torch.Tensor,
        shift: torch.Tensor,
    ) -> torch.Tensor:
        """Return the styled activation, in the dtype and shape of `t`."""
        u = wide(t) + wide(noise) * wide(strength) + wide(bias)[:, None, None]
        x = cast(torch.where(u > 0, u, u * LRELU_SLOPE), t.dtype)
        f, n = wide(x), t.shape[1] * t.shape[3] * t.shape[4]
        mean = f.sum((1, 3, 4)) / n
        if t.dtype == torch.bfloat16:  # one pass over x; rounding to bfloat16 has cost more than the difference can
            variance = ((f * f).sum((1, 3, 4)) / n - mean * mean).clamp_min(0)
        else:
            variance = (f - _planes(mean)).square().sum((1, 3, 4)) / n
        r = torch.rsqrt(variance + 1e-8)
        a = r * scale
        ctx.save_for_backward(x, mean, r, a)
        return cast(f * _planes(a) + _planes(shift - mean * a), t.dtype)

    @staticmethod
    def backward(ctx: Any, gradient: torch.Tensor) -> Any:
        """Return the gradients of `t`, `scale` and `shift`; None for the frozen inputs."""
        x, mean, r, a = ctx.saved_tensors
        g, f, n = wide(gradient), wide(x), x.shape[1] * x.shape[3] * x.shape[4]
        of_shift = g.sum((1, 3, 4))
        of_scale = r * ((g * f).sum((1, 3, 4)) - mean * of_shift)
        b = -a * r * of_scale / n
        d = -(a * of_shift) / n - mean * b
        inner = g * _planes(a) + f * _planes(b) + _planes(d)
        of_t = cast(torch.where(f > 0, inner, inner * LRELU_SLOPE), gradient.dtype)
        return of_t, None, None, None, of_scale, of_shift


def _planes(x: torch.Tensor) -> torch.Tensor:
    """Return a number for each image and channel, [B, C], in the shape that meets [B, G, C, H, W]."""
    return x[:, None, :, None, None]


class Blur(torch.autograd.Function):
    """Correlate each channel of `x` [B, C, H, W] with a symmetric 3 x 3 `kernel` [C, 1, 3, 3], zeros around.

    The operator is its own transpose: its gradient is the forward convolution again, which takes a GPU half as long as
    the general gradient of a depthwise convolution (docs/gpu.md).
    """

    @staticmethod
    def forward(ctx: Any, x: torch.Tensor, kernel: torch.Tensor) -> torch.Tensor:
        """Return the blurred `x`, of the same shape."""
        ctx.save_for_backward(kernel)
        return F.conv2d(x, kernel, None, padding=1, groups=x.shape[1])

    @staticmethod
    def backward(ctx: Any, gradient: torch.Tensor) -> Any:
        """Return the gradient of `x`; None for the kernel."""
        (kernel,) = ctx.saved_tensors
        return F.conv2d(gradient, kernel, None, padding=1, groups=gradient.shape[1]), None


class Colours(torch.autograd.Function):
    """Sum channels into colours: `x` [B, G, C, H, W] and `weight` [B, 3, C] -> [B, G, 3, H, W], not bfloat16.

    A convolution with three outputs leaves a GPU's matrix units idle; as sums it costs one pass, which a compiler
    joins to the operator before it, and its gradient to the one after.
    """

    @staticmethod
    def forward(ctx: Any, x: torch.Tensor, weight: torch.Tensor) -> torch.Tensor:
        """Return the colours, in float32 or wider."""
        ctx.save_for_backward(x, weight)
        f, w = wide(x), wide(weight)
        return torch.stack([(f * _planes(w[:, colour])).sum(2) for colour in range(weight.shape[1])], 2)

    @staticmethod
    def backward(ctx: Any, gradient: torch.Tensor) -> Any:
        """Return the gradients of `x` and, where it is needed, of `weight`."""
        x, weight = ctx.saved_tensors
        f, w = wide(x), wide(weight)
        of_x, of_weight = None, []
        for colour in range(weight.shape[1]):
            g = gradient[:, :, colour, None]
            part = g * _planes(w[:, colour])
            of_x = part if of_x is None else of_x + part
            if ctx.needs_input_grad[1]:
                of_weight.append((g * f).sum((1, 3, 4)))
        assert of_x is not None
        return cast(of_x, x.dtype), cast(torch.stack(of_weight, 1), weight.dtype) if of_weight else None


def depth_to_space(x: torch.Tensor) -> torch.Tensor:
    """Turn [B, 4 C, H, W], channels ordered as (row phase, column phase, C), into [B, C, 2 H, 2 W]."""
    split = torch.unflatten(x, 1, (2, 2, -1))  # [B, p, q, C, H, W]
    return split.permute(0, 3, 4, 1, 5, 2).flatten(4, 5).flatten(2, 3)


def space_to_depth(x: torch.Tensor) -> torch.Tensor:
    """Turn [..., 2 H, 2 W] into [4, ..., H, W]: the four phases of each 2 x 2 block, rows first."""
    return torch.stack([x[..., p::2, q::2] for p in (0, 1) for q in (0, 1)])


def compose(first: torch.Tensor, second: torch.Tensor) -> torch.Tensor:
    """Return the full convolution of each kernel of `first` [I, O, k, k] with `second` [n, n], k + n - 1 wide."""
    inputs, outputs, k, _ = first.shape
    flat = first.reshape(inputs * outputs, 1, k, k)
    n = second.shape[0]
    full = F.conv2d(flat, second.flip(0, 1)[None, None].to(flat), padding=n - 1)
    return torch.unflatten(full[:, 0], 0, (inputs, outputs))


def phase_kernel(kernel: torch.Tensor) -> torch.Tensor:
    """Return [4 O, I, 3, 3], whose convolution (padding 1) gives the four phases of a transposed one.

    `kernel` [I, O, 6, 6] is that of the transposed convolution with stride 2 and padding 2. Output 2 i + p takes the
    input i + t (t = -1, 0, 1) with the tap p + 2 - 2 t.
    """
    taps = [[p + 2 - 2 * t for t in (-1, 0, 1)] for p in (0, 1)]
    phases = [kernel[:, :, taps[p]][:, :, :, taps[q]] for p in (0, 1) for q in (0, 1)]
    return torch.stack(phases).permute(0, 2, 1, 3, 4).flatten(0, 1).contiguous()


def block_kernel(kernel: torch.Tensor) -> torch.Tensor:
    """Return [4 O, 4 I, 3, 3]: the 3 x 3 convolution `kernel` [O, I, 3, 3] (padding 1) between images in 2 x 2 blocks.

    Output phase (p, q) takes pixel p + dy of its column, which is phase (p + dy) mod 2 of block floor((p + dy) / 2).
    """
    outputs, inputs = kernel.shape[:2]
    blocks = kernel.new_zeros(2, 2, outputs, 2, 2, inputs, 3, 3)
    for p in (0, 1):
        for q in (0, 1):
            for dy in (-1, 0, 1):
                for dx in (-1, 0, 1):
                    row, column = divmod(p + dy, 2), divmod(q + dx, 2)
                    blocks[p, q, :, row[1], column[1], :, row[0] + 1, column[0] + 1] = kernel[:, :, dy + 1, dx + 1]
    return blocks.reshape(4 * outputs, 4 * inputs, 3, 3)


def upsample_colours(x: torch.Tensor, line: Sequence[float]) -> torch.Tensor:
    """Turn [B, 3, H, W] into [B, 3, 2 H, 2 W] by zero insertion and the 4-tap filter `line` along both axes.

    The same as a transposed convolution (stride 2, padding 1), as sums of two neighbours: no one-channel convolution.
    """
    for axis in (2, 3):
        zero = torch.zeros_like(x.narrow(axis, 0, 1))
        size = x.shape[axis]
        before = torch.cat([zero, x.narrow(axis, 0, size - 1)], axis)
        after = torch.cat([x.narrow(axis, 1, size - 1), zero], axis)
        even, odd = x * line[1] + before * line[3], x * line[2] + after * line[0]
        x = torch.stack([even, odd], axis + 1).flatten(axis, axis + 1)
    return x
