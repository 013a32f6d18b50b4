"""Candidates for the engine's operators: few kernels, whatever the layout, and little kept for the backward pass.

They equal the engine's up to rounding (in float64 to 1e-15; the losses of `--smoke` show it).

lean: in StyleGAN1, what follows a convolution (bias, noise, leaky ReLU, norm, style) is one operator whose backward
pass is A g + B x + D with coefficients for each image and channel; the loss keeps its two operands and nothing else.

stencil: beside that, blurs are sums of shifted feature maps in place of depthwise convolutions.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import torch
import torch.nn.functional as F

Lines = Mapping[int, list[float]]  # of separable, symmetric blurs, by their size


@contextlib.contextmanager
def lean_operators(ops: str, lines: Lines) -> Iterator[None]:
    """Put the operators in place of the engine's; `ops`: product (no change), lean or stencil."""
    from i2s_batch.inversion import loss as loss_module
    from i2s_batch.models import stylegan1, stylegan2

    replaced: list[tuple[Any, str, Any]] = []
    if ops != "product":
        replaced += [(loss_module, "mean_square", MeanSquare.apply), (stylegan1.StyledLayer, "forward", _styled_layer)]
    if ops == "stencil":
        depthwise = depthwise_stencil(lines)
        replaced += [(stylegan1, "depthwise", depthwise), (stylegan2, "depthwise", depthwise)]
    before = [(owner, name, getattr(owner, name)) for owner, name, _ in replaced]
    for owner, name, new in replaced:
        setattr(owner, name, new)
    try:
        yield
    finally:
        for owner, name, old in before:
            setattr(owner, name, old)


def _cast(x: torch.Tensor, dtype: torch.dtype) -> torch.Tensor:
    # Never a conversion that converts nothing: at the end of a Function's forward, the compiler of torch 2.11 (not
    # that of 2.15) then loses the gradient and reports nothing.
    return x if x.dtype == dtype else x.to(dtype)


def _wide(x: torch.Tensor) -> torch.Tensor:
    return _cast(x, torch.float32) if x.dtype == torch.bfloat16 else x


def _planes(x: torch.Tensor) -> torch.Tensor:
    return x[:, :, None, None]


def stencil(x: torch.Tensor, line: list[float], margin: int) -> torch.Tensor:
    """Blur with the square of `line`, as a sum of shifted feature maps, after `margin` zeros on each side."""
    taps = range(len(line))
    height, width = (n + 2 * margin + 1 - len(line) for n in x.shape[2:])
    padded, total = F.pad(x, (margin,) * 4), None
    for i in taps:
        for j in taps:
            part = _wide(padded[:, :, i : i + height, j : j + width]) * (line[i] * line[j])
            total = part if total is None else total + part
    assert total is not None
    return _cast(total, x.dtype)


def depthwise_stencil(lines: Lines) -> Callable[..., torch.Tensor]:
    """Return what takes the place of the models' `depthwise`; `lines` is read when it is called."""

    class Blur(torch.autograd.Function):
        @staticmethod
        def forward(ctx: Any, x: torch.Tensor, size: int) -> torch.Tensor:
            ctx.size = size
            return stencil(x, lines[size], 1)

        @staticmethod
        def backward(ctx: Any, gradient: torch.Tensor) -> Any:  # the line is symmetric
            return stencil(gradient, lines[ctx.size], ctx.size - 2), None

    def depthwise(x: torch.Tensor, kernel: torch.Tensor, bias: torch.Tensor | None = None) -> torch.Tensor:
        blurred = Blur.apply(x, kernel.shape[-1])
        return blurred if bias is None else blurred + bias[:, None, None]

    return depthwise


class MeanSquare(torch.autograd.Function):
    """The mean squared difference of each image: [B, ...] twice -> [B]."""

    @staticmethod
    def forward(ctx: Any, a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
        """Keep both operands and nothing else."""
        ctx.save_for_backward(a, b)
        return (_wide(a) - _wide(b)).square().flatten(1).mean(1)

    @staticmethod
    def backward(ctx: Any, gradient: torch.Tensor) -> Any:
        """Return the gradient of the first operand; the second is a target."""
        a, b = ctx.saved_tensors
        gain = (gradient * (2 * len(a) / a.numel())).reshape(-1, *[1] * (a.ndim - 1))
        return _cast((_wide(a) - _wide(b)) * gain, a.dtype), None


class Styled(torch.autograd.Function):
    """StyleGAN1's noise, bias, leaky ReLU, instance norm and style as one operator, [B, C, H, W]."""

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
        """Keep the activation and three coefficients for each image and channel."""
        u = _wide(t) + _wide(noise) * _wide(strength) + _wide(bias)[:, None, None]
        x = _cast(torch.where(u > 0, u, u * 0.2), t.dtype)
        f, n = _wide(x), x.shape[2] * x.shape[3]
        mean = f.sum((2, 3)) / n
        r = torch.rsqrt(((f * f).sum((2, 3)) / n - mean * mean).clamp_min(0) + 1e-8)
        a = r * scale
        ctx.save_for_backward(x, mean, r, a)
        return _cast(f * _planes(a) + _planes(shift - mean * a), t.dtype)

    @staticmethod
    def backward(ctx: Any, gradient: torch.Tensor) -> Any:
        """Return the gradients of the input and of the style."""
        x, mean, r, a = ctx.saved_tensors
        g, f, n = _wide(gradient), _wide(x), x.shape[2] * x.shape[3]
        of_shift = g.sum((2, 3))
        of_scale = r * ((g * f).sum((2, 3)) - mean * of_shift)
        b = -a * r * of_scale / n
        d = -(a * of_shift) / n - mean * b
        inner = g * _planes(a) + f * _planes(b) + _planes(d)
        return _cast(torch.where(f > 0, inner, inner * 0.2), gradient.dtype), None, None, None, of_scale, of_shift


def _styled_layer(self: Any, x: torch.Tensor, w: torch.Tensor) -> torch.Tensor:
    """Stand in for `stylegan1.StyledLayer.forward`."""
    from i2s_batch.models import stylegan1

    scale, shift = F.linear(w, self.style_weight, self.style_bias).chunk(2, 1)
    if self.index and self.index % 2:
        x = F.conv2d(x, self.weight, None, padding=1)
    elif self.index:
        x = stylegan1.depthwise(F.conv_transpose2d(x, self.weight, stride=2, padding=1), self.blur)
    return Styled.apply(x, self.bias, self.noise, self.noise_strength, scale, shift)
