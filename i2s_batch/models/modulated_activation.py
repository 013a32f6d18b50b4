"""This module holds what is between two convolutions of StyleGAN2 as one operator, for the compiled step on a GPU.

A convolution's output is demodulated, gets noise, bias and leaky ReLU, is modulated for the next convolution and summed
to colours. Only the convolution's output is kept for the backward pass, which computes all else again: derived by
autograd, a compiler stores one more feature map a layer (docs/gpu.md).

Shapes, of all operators here: `c` [B, G, C, H, W], the pixels of a channel spread over G groups; demodulation `d` and
the next layer's style `s` [B, C]; `noise` [G, 1, H, W]; `bias` [C, 1, 1]; `weight` of the colours [B, 3, C]. Noise and
bias are frozen and get no gradient. Where `c` is bfloat16, everything between is float32.
"""

from __future__ import annotations

from typing import Any

import torch

from i2s_batch.models.fused_operators import cast, planes, wide
from i2s_batch.models.operators import LRELU_SLOPE, clamped


class Modulated(torch.autograd.Function):
    """Computes z s, where z = clamp(leaky_relu(c d + noise + bias)): the input of the next convolution."""

    @staticmethod
    def forward(
        ctx: Any,
        c: torch.Tensor,
        d: torch.Tensor,
        noise: torch.Tensor,
        bias: torch.Tensor,
        s: torch.Tensor,
        limit: float | None,
    ) -> torch.Tensor:
        """Return the modulated activation, in the dtype and shape of `c`; `limit`: of the clamp, or None."""
        ctx.save_for_backward(c, d, noise, bias, s)
        ctx.limit = limit
        return cast(_activated(c, d, noise, bias, limit) * planes(s), c.dtype)

    @staticmethod
    def backward(ctx: Any, gradient: torch.Tensor) -> Any:
        """Return the gradients of `c`, `d` and `s`; None for the frozen inputs."""
        c, d, noise, bias, s = ctx.saved_tensors
        g, again = wide(gradient), _Again(c, d, noise, bias, ctx.limit)
        of_c, of_d = again.gradients(g * planes(s))
        return of_c, of_d, None, None, _over_pixels(g * again.z), None


class ModulatedColours(torch.autograd.Function):
    """Computes z s as `Modulated`, and the colours of z: sums over its channels."""

    @staticmethod
    def forward(
        ctx: Any,
        c: torch.Tensor,
        d: torch.Tensor,
        noise: torch.Tensor,
        bias: torch.Tensor,
        s: torch.Tensor,
        weight: torch.Tensor,
        limit: float | None,
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Return the modulated activation, as `c`, and the colours [B, G, 3, H, W], in float32 or wider."""
        ctx.save_for_backward(c, d, noise, bias, s, weight)
        ctx.limit = limit
        z = _activated(c, d, noise, bias, limit)
        return cast(z * planes(s), c.dtype), _colours(z, weight)

    @staticmethod
    def backward(ctx: Any, gradient: torch.Tensor, of_colours: torch.Tensor) -> Any:
        """Return the gradients of `c`, `d`, `s` and `weight`; None for the frozen inputs."""
        c, d, noise, bias, s, weight = ctx.saved_tensors
        g, again = wide(gradient), _Again(c, d, noise, bias, ctx.limit)
        of_c, of_d = again.gradients(g * planes(s) + _from_colours(of_colours, weight))
        of_weight = cast(_of_weight(of_colours, again.z), weight.dtype)
        return of_c, of_d, None, None, _over_pixels(g * again.z), of_weight, None


class LastColours(torch.autograd.Function):
    """Computes the colours of z alone: after the last layer there is no convolution."""

    @staticmethod
    def forward(
        ctx: Any,
        c: torch.Tensor,
        d: torch.Tensor,
        noise: torch.Tensor,
        bias: torch.Tensor,
        weight: torch.Tensor,
        limit: float | None,
    ) -> torch.Tensor:
        """Return the colours [B, G, 3, H, W], in float32 or wider."""
        ctx.save_for_backward(c, d, noise, bias, weight)
        ctx.limit = limit
        return _colours(_activated(c, d, noise, bias, limit), weight)

    @staticmethod
    def backward(ctx: Any, of_colours: torch.Tensor) -> Any:
        """Return the gradients of `c`, `d` and `weight`; None for the frozen inputs."""
        c, d, noise, bias, weight = ctx.saved_tensors
        again = _Again(c, d, noise, bias, ctx.limit)
        of_c, of_d = again.gradients(_from_colours(of_colours, weight))
        return of_c, of_d, None, None, cast(_of_weight(of_colours, again.z), weight.dtype), None


def _activated(
    c: torch.Tensor, d: torch.Tensor, noise: torch.Tensor, bias: torch.Tensor, limit: float | None
) -> torch.Tensor:
    u = wide(c) * planes(d) + wide(noise) + wide(bias)
    return clamped(torch.where(u > 0, u, u * LRELU_SLOPE), limit)


class _Again:
    """Holds what the forward pass computed of a convolution's output, computed again.

    In another order of sums: a compiler that found the same expression in both passes would store its value.
    """

    def __init__(
        self, c: torch.Tensor, d: torch.Tensor, noise: torch.Tensor, bias: torch.Tensor, limit: float | None
    ) -> None:
        self._c, self._d, self._dtype = wide(c), planes(d), c.dtype
        u = self._c * self._d + (wide(noise) + wide(bias))
        self._positive = u > 0
        x = torch.where(self._positive, u, u * LRELU_SLOPE)
        self.z = clamped(x, limit)
        self._inside = None if limit is None else x.abs() <= limit

    def gradients(self, of_z: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Return the gradients of `c`, in its dtype, and of `d`."""
        of_u = torch.where(self._positive, of_z, of_z * LRELU_SLOPE)
        if self._inside is not None:
            of_u = torch.where(self._inside, of_u, torch.zeros_like(of_u))
        return cast(of_u * self._d, self._dtype), _over_pixels(of_u * self._c)


def _over_pixels(x: torch.Tensor) -> torch.Tensor:
    """Return the sums over the pixels of each channel of each image: [B, G, C, H, W] -> [B, C]."""
    return x.sum((1, 3, 4))


def _colours(z: torch.Tensor, weight: torch.Tensor) -> torch.Tensor:
    w = wide(weight)
    return torch.stack([(z * planes(w[:, colour])).sum(2) for colour in range(weight.shape[1])], 2)


def _from_colours(gradient: torch.Tensor, weight: torch.Tensor) -> torch.Tensor:
    """Return the gradient of z [B, G, C, H, W] that comes from its colours."""
    w = wide(weight)
    first, *others = (gradient[:, :, k, None] * planes(w[:, k]) for k in range(weight.shape[1]))
    return sum(others, first)


def _of_weight(gradient: torch.Tensor, z: torch.Tensor) -> torch.Tensor:
    """Return the gradient [B, 3, C] of the weight of the colours."""
    return torch.stack([_over_pixels(gradient[:, :, k, None] * z) for k in range(gradient.shape[2])], 1)
