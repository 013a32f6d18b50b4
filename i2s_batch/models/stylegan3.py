"""This module is the StyleGAN3 synthesis network (Karras et al. 2021), T and R: alias-free layers on Fourier features.

As in our StyleGAN2, styles scale the activations before a convolution and the demodulation scales them after it.
Every image is normalised for itself: the original's mean square of the styles runs over the batch, which changes its
images by less than 1e-9.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import torch
import torch.nn.functional as F
from torch import nn

from i2s_batch.errors import CheckpointError, ConfigError
from i2s_batch.models.generator import Generator
from i2s_batch.models.network_settings import StyleGAN3Settings
from i2s_batch.models.operators import (
    LRELU_SLOPE,
    SQRT2,
    clamped,
    downsample,
    frozen,
    normalize_mean_square,
    upsample_separable,
)
from i2s_batch.models.style_layer import Style
from i2s_batch.models.weights import GeneratorWeights


class FourierInput(nn.Module):
    """Makes waves of fixed frequencies and phases, moved by the style and by a transform, then mixed."""

    freqs: torch.Tensor
    phases: torch.Tensor
    weight: torch.Tensor
    positions: torch.Tensor

    def __init__(self, weights: GeneratorWeights) -> None:
        super().__init__()
        own, settings = weights.part("input."), StyleGAN3Settings.of(weights.settings)
        size, rate = settings.input_size, settings.sampling_rate
        self._bandwidth = settings.bandwidth
        self._falloff = rate / 2 - self._bandwidth
        if self._falloff <= 0:
            raise CheckpointError(f"its bandwidth {self._bandwidth} is not below half its sampling rate {rate}")
        self.style = Style(own)
        self.register_buffer("freqs", frozen(own["freqs"]))
        self.register_buffer("phases", frozen(own["phases"]))
        self.register_buffer("weight", frozen(own["weight"], 1 / math.sqrt(own["weight"].shape[1])))
        self.register_buffer("positions", (torch.arange(size, dtype=torch.float64) + 0.5 - size / 2) / rate)

    def forward(self, w: torch.Tensor, transform: torch.Tensor) -> torch.Tensor:
        """Map w [B, w_dim], moved by `transform` [3, 3] or [B, 3, 3], to [B, C, size, size]."""
        motion = _motion(self.style(w)) @ transform
        phases = self.phases + motion[:, :2, 2] @ self.freqs.T
        freqs = self.freqs @ motion[:, :2, :2]
        # Waves that would alias fade out: full up to the bandwidth, none from half the sampling rate.
        amplitudes = (1 - (freqs.norm(dim=2) - self._bandwidth) / self._falloff).clamp(0, 1)
        x = freqs[:, :, :1] * self.positions
        y = freqs[:, :, 1:] * self.positions + phases[:, :, None]
        waves = torch.sin(2 * math.pi * (x[:, :, None] + y[..., None])) * amplitudes[:, :, None, None]
        return torch.unflatten(self.weight @ waves.flatten(2), 2, waves.shape[2:])


def _motion(t: torch.Tensor) -> torch.Tensor:
    """Return the style's rotation by (t0, t1) of a translation by (t2, t3): t [B, 4] -> [B, 3, 3]."""
    cos, sin, right, down = (t / t[:, :2].norm(dim=1, keepdim=True)).unbind(1)
    zero, one = torch.zeros_like(cos), torch.ones_like(cos)
    rotation = torch.stack([cos, -sin, zero, sin, cos, zero, zero, zero, one], 1)
    translation = torch.stack([one, zero, -right, zero, one, -down, zero, zero, one], 1)
    return torch.unflatten(rotation, 1, (3, 3)) @ torch.unflatten(translation, 1, (3, 3))


def _input_gain(own: dict[str, np.ndarray], index: int) -> float:
    """Return 1 / sqrt of the mean square that the layer's input had in training."""
    magnitude = float(own["magnitude"])
    if magnitude <= 0:
        raise CheckpointError(f"the variable layer.{index}.magnitude is {magnitude}; it must be above 0")
    return 1 / math.sqrt(magnitude)


class FilteredLayer(nn.Module):
    """Applies a modulated convolution, bias; leaky ReLU and clamp at a higher rate, between two low-pass filters."""

    weight: torch.Tensor
    power: torch.Tensor
    bias: torch.Tensor
    up_filter: torch.Tensor
    down_filter: torch.Tensor
    MEETS_MAPS = ("weight", "bias", "up_filter", "down_filter")

    def __init__(self, weights: GeneratorWeights, index: int) -> None:
        super().__init__()
        own, settings = weights.part(f"layer.{index}."), StyleGAN3Settings.of(weights.settings)
        shape = settings.layers[index]
        self._gain = _input_gain(own, index)
        self._up, self._down, self._kernel = shape.up, shape.down, shape.kernel
        # The original pads, and keeps where the filter lies wholly within; a full overlap has all of it.
        taps = shape.up_taps
        ends = (taps - 1, taps - self._up) * 2
        self._crops = tuple(end - more for end, more in zip(ends, shape.padding, strict=True))
        clamp = settings.conv_clamp
        self._clamp = None if clamp is None else clamp / SQRT2
        self.style = Style(own)
        raw = frozen(own["weight"])
        weight = raw / raw.square().mean((1, 2, 3), keepdim=True).sqrt()
        channels = weight.shape[0]
        self.register_buffer("weight", weight)
        self.register_buffer("power", weight.square().sum((2, 3)))
        self.register_buffer("bias", frozen(own["bias"])[:, None, None])
        self.register_buffer("up_filter", frozen(own["up_filter"], self._up).repeat(channels, 1, 1))
        # Carries the gain sqrt 2 of the leaky ReLU, so the clamp before it is that much lower. Turned round, because
        # `downsample` correlates; sqrt of the gain for each axis if it is used along both.
        down = frozen(own["down_filter"], SQRT2 if shape.radial else math.sqrt(SQRT2))
        down = down.flip(tuple(range(down.ndim)))
        self.register_buffer("down_filter", down.repeat(channels, 1, *[1] * down.ndim))

    def forward(self, x: torch.Tensor, w: torch.Tensor) -> torch.Tensor:
        """Map `x` [B, C, H, W] and w [B, w_dim] to [B, C', H', W']."""
        return self.non_linearity(self.convolution(x, w))

    def convolution(self, x: torch.Tensor, w: torch.Tensor) -> torch.Tensor:
        """Convolve [B, C, H, W] with modulated, demodulated weights to [B, C', H + k - 1, W + k - 1]; add the bias."""
        s = normalize_mean_square(self.style(w))
        d = torch.rsqrt(F.linear(s.square(), self.power) + 1e-8) * self._gain
        x = F.conv2d(x * s[:, :, None, None].to(x.dtype), self.weight, padding=self._kernel - 1)
        return torch.addcmul(self.bias, x, d[:, :, None, None].to(x.dtype))

    def non_linearity(self, x: torch.Tensor) -> torch.Tensor:
        """Apply the filtered non-linearity: up, leaky ReLU and clamp, down. `x` [B, C, H, W] -> [B, C, H', W']."""
        x = upsample_separable(x, self.up_filter, self._up, self._crops)
        return downsample(clamped(F.leaky_relu_(x, LRELU_SLOPE), self._clamp), self.down_filter, self._down)


class ToRGB3(nn.Module):
    """Applies a modulated 1x1 convolution to three colours, not demodulated; bias, clamp, scale of the output."""

    weight: torch.Tensor
    bias: torch.Tensor
    MEETS_MAPS = ("bias",)

    def __init__(self, weights: GeneratorWeights, index: int) -> None:
        super().__init__()
        own, settings = weights.part(f"layer.{index}."), StyleGAN3Settings.of(weights.settings)
        self._clamp, self._scale = settings.conv_clamp, settings.output_scale
        weight = own["weight"][:, :, 0, 0]
        self.style = Style(own, gain=_input_gain(own, index) / math.sqrt(weight.shape[1]))
        self.register_buffer("weight", frozen(weight))
        self.register_buffer("bias", frozen(own["bias"])[:, None])

    def forward(self, x: torch.Tensor, w: torch.Tensor) -> torch.Tensor:
        """Map `x` [B, C, H, W] and w [B, w_dim] to [B, 3, H, W]."""
        weight = self.weight * self.style(w)[:, None]
        rgb = torch.unflatten(torch.baddbmm(self.bias, weight.to(x.dtype), x.flatten(2)), 2, x.shape[2:])
        return clamped(rgb, self._clamp).to(w.dtype) * self._scale


class StyleGAN3(Generator):
    """Latent 0 moves the Fourier features, latent i + 1 styles layer i; the last layer makes the colours.

    `stored_transform` [3, 3]: the input transform that the file was saved with, used only where it is asked for.
    """

    identity: torch.Tensor
    stored_transform: torch.Tensor

    def __init__(self, weights: GeneratorWeights) -> None:
        super().__init__(weights)
        last = len(StyleGAN3Settings.of(weights.settings).layers) - 1
        self.input = FourierInput(weights)
        self.layers = nn.ModuleList(FilteredLayer(weights, i) for i in range(last))
        self.to_rgb = ToRGB3(weights, last)
        self.register_buffer("identity", torch.eye(3, dtype=torch.float64))
        self.register_buffer("stored_transform", frozen(weights.tensors["input.transform"]))

    def synthesize(self, ws: torch.Tensor, transform: torch.Tensor | None = None) -> torch.Tensor:
        """Synthesize as every generator does, with features moved by `transform` [3, 3], or [B, 3, 3] for each image.

        It acts on homogeneous positions (right, down, 1) in image widths from the centre, and is the inverse of the
        motion that the image makes. None: the identity. Raises ConfigError for another shape.
        """
        if transform is None:
            return super().synthesize(ws)
        self._check_ws(ws)
        if tuple(transform.shape) not in ((3, 3), (ws.shape[0], 3, 3)):
            raise ConfigError(f"transform has the shape {list(transform.shape)}; [3, 3] or ['B', 3, 3] is needed")
        return self._moved(ws, transform)

    def _synthesis(self, ws: torch.Tensor, noise: Sequence[torch.Tensor] | None = None) -> torch.Tensor:
        return self._moved(ws, self.identity)

    def _moved(self, ws: torch.Tensor, transform: torch.Tensor) -> torch.Tensor:
        x = self.input(ws[:, 0], transform).to(self.to_rgb.bias.dtype)
        for i, layer in enumerate(self.layers):
            x = layer(x, ws[:, i + 1])
        images: torch.Tensor = self.to_rgb(x, ws[:, -1])
        return images
