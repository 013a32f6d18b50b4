"""This module is the StyleGAN1 synthesis network (Karras, Laine, Aila 2019)."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import nn

from i2s_batch.models.generator import Generator
from i2s_batch.models.network_settings import StyleGAN1Settings
from i2s_batch.models.operators import (
    LRELU_SLOPE,
    SQRT2,
    blur_kernel,
    depthwise,
    frozen,
    nearest_then_conv_kernel,
    styled_instance_norm,
)
from i2s_batch.models.weights import GeneratorWeights


class StyledLayer(nn.Module):
    """Applies convolution, noise, bias, leaky ReLU, instance norm and style.

    Even layers double the resolution before the convolution and blur after it. Layer 0 has no convolution: its input
    is the constant.
    """

    weight: torch.Tensor
    blur: torch.Tensor
    bias: torch.Tensor
    noise: torch.Tensor
    noise_strength: torch.Tensor
    style_weight: torch.Tensor
    style_bias: torch.Tensor
    MEETS_MAPS = ("weight", "blur", "bias", "noise", "noise_strength")

    def __init__(self, weights: GeneratorWeights, index: int) -> None:
        super().__init__()
        self.index = index
        own = weights.part(f"layer.{index}.")
        channels = own["bias"].shape[0]
        if index:
            weight = frozen(own["weight"], SQRT2 / math.sqrt(own["weight"][0].size))
            self.register_buffer("weight", weight if index % 2 else nearest_then_conv_kernel(weight))
        if index and index % 2 == 0:
            self.register_buffer("blur", blur_kernel((1, 2, 1)).repeat(channels, 1, 1, 1))
        self.register_buffer("bias", frozen(own["bias"]))
        self.register_buffer("noise", frozen(own["noise"]))
        self.register_buffer("noise_strength", frozen(own["noise_strength"])[:, None, None])
        style = own["style.weight"]
        self.register_buffer("style_weight", frozen(style, 1 / math.sqrt(style.shape[1])))
        style_bias = frozen(own["style.bias"])
        style_bias[:channels] += 1  # x * (s0 + 1) + s1
        self.register_buffer("style_bias", style_bias)

    def forward(self, x: torch.Tensor, w: torch.Tensor, noise: torch.Tensor | None = None) -> torch.Tensor:
        """Map `x` [B, C, H, W] and w [B, w_dim] to [B, C', H', W']; `noise` [B, 1, H', W'], None for the stored."""
        if self.index == 0:
            x = x + self.bias[:, None, None]
        elif self.index % 2:
            x = F.conv2d(x, self.weight, self.bias, padding=1)
        else:
            x = depthwise(F.conv_transpose2d(x, self.weight, stride=2, padding=1), self.blur, self.bias)
        noise = self.noise if noise is None else noise.to(x.dtype)
        # In place: nothing needs a convolution's output again, its weights being frozen.
        x = F.leaky_relu_(x.addcmul_(noise, self.noise_strength), LRELU_SLOPE)
        scale, shift = F.linear(w, self.style_weight, self.style_bias).chunk(2, 1)
        return styled_instance_norm(x, scale, shift)


class StyleGAN1(Generator):
    """Applies layers 0..L-1 to a learnt constant, then colours from the last resolution, or the last two if fading."""

    const: torch.Tensor
    rgb_weight: torch.Tensor
    rgb_bias: torch.Tensor
    lower_weight: torch.Tensor
    lower_bias: torch.Tensor
    MEETS_MAPS = ("const", "rgb_weight", "rgb_bias", "lower_weight", "lower_bias")

    def __init__(self, weights: GeneratorWeights) -> None:
        super().__init__(weights)
        self.register_buffer("const", frozen(weights.tensors["const"])[None])
        self.layers = nn.ModuleList(StyledLayer(weights, i) for i in range(self.num_layers))
        rgb = weights.tensors["to_rgb.weight"]
        self.register_buffer("rgb_weight", frozen(rgb, 1 / math.sqrt(rgb.shape[1]))[:, :, None, None])
        self.register_buffer("rgb_bias", frozen(weights.tensors["to_rgb.bias"]))
        self._fading = bool(StyleGAN1Settings.of(weights.settings).fading)
        if self._fading:
            lower = weights.tensors["fading.weight"]
            self.register_buffer("lower_weight", frozen(lower, 1 / math.sqrt(lower.shape[1]))[:, :, None, None])
            self.register_buffer("lower_bias", frozen(weights.tensors["fading.bias"]))

    def _synthesis(self, ws: torch.Tensor, noise: Sequence[torch.Tensor] | None = None) -> torch.Tensor:
        x = lower = self.const.expand(ws.shape[0], -1, -1, -1)
        for i, layer in enumerate(self.layers):
            if i == self.num_layers - 2:
                lower = x
            x = layer(x, ws[:, i], None if noise is None else noise[i])
        image = F.conv2d(x, self.rgb_weight, self.rgb_bias).to(ws.dtype)
        return image + self._enlarged(lower).to(ws.dtype) if self._fading else image

    def _enlarged(self, x: torch.Tensor) -> torch.Tensor:
        """Map `x` [B, C, H, W] of the resolution before the last to its colours [B, 3, 2 H, 2 W]."""
        return F.interpolate(F.conv2d(x, self.lower_weight, self.lower_bias), scale_factor=2, mode="nearest")
