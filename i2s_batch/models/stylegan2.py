"""This module is the StyleGAN2 synthesis network (Karras et al. 2020): skip, resnet and orig.

Styles scale the activations before a convolution, and the demodulation scales them after it, so that the whole
batch shares one weight: no grouped convolution, and the frozen weight is never touched.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import nn

from i2s_batch.models.generator import Generator
from i2s_batch.models.network_layout import layer_resolution
from i2s_batch.models.network_settings import MAX_RESOLUTION, StyleGAN2Settings, resolutions
from i2s_batch.models.operators import LRELU_SLOPE, SQRT2, blur_kernel, clamped, depthwise, frozen, upsample_fir
from i2s_batch.models.style_layer import Style
from i2s_batch.models.weights import GeneratorWeights

FIR = (1, 3, 3, 1)


class ModulatedLayer(nn.Module):
    """Applies a modulated, demodulated convolution, upsampling in even layers; noise, bias, leaky ReLU, clamp.

    `gain` follows the activation; it is carried by everything before it, the leaky ReLU being homogeneous.
    """

    weight: torch.Tensor
    power: torch.Tensor
    blur: torch.Tensor
    noise: torch.Tensor
    bias: torch.Tensor
    MEETS_MAPS = ("weight", "blur", "noise", "bias")

    def __init__(self, weights: GeneratorWeights, index: int, gain: float) -> None:
        super().__init__()
        own, settings = weights.part(f"layer.{index}."), StyleGAN2Settings.of(weights.settings)
        raw = own["weight"]
        scaled = settings.demodulation == "scaled"
        weight = frozen(raw, 1 / math.sqrt(raw[0].size) if scaled else 1.0)
        self._up = index % 2 == 0
        self._gain = SQRT2 * gain
        clamp = settings.conv_clamp
        self._clamp = None if clamp is None else clamp * gain
        self.style = Style(own, settings.style_offset or 0)
        self.register_buffer("power", weight.square().sum((2, 3)))
        self.register_buffer("weight", self._up_kernel(weight) if self._up else weight)
        if self._up:
            self.register_buffer("blur", blur_kernel(FIR, 4.0).repeat(raw.shape[0], 1, 1, 1))
        self._noise_gain = self._gain * float(own["noise_strength"])
        self.register_buffer("noise", frozen(own["noise"], self._noise_gain))
        self.register_buffer("bias", frozen(own["bias"], self._gain)[:, None, None])

    def forward(self, x: torch.Tensor, w: torch.Tensor, noise: torch.Tensor | None = None) -> torch.Tensor:
        """Map `x` [B, C, H, W] and w [B, w_dim] to [B, C', H', W']; `noise` [B, 1, H', W'], None for the stored."""
        s = self.style(w)
        # 1 / sqrt(sum over inputs and taps of (weight * s)^2 + 1e-8), for each image and output channel.
        d = torch.rsqrt(F.linear(s.square(), self.power) + 1e-8) * self._gain
        x = x * s[:, :, None, None].to(x.dtype)
        x = self._upsampling(x) if self._up else F.conv2d(x, self.weight, padding=1)
        noise = self.noise if noise is None else (noise * self._noise_gain).to(x.dtype)
        return self._activation(x, d, noise)

    def _up_kernel(self, weight: torch.Tensor) -> torch.Tensor:
        return weight.transpose(0, 1).contiguous()

    def _upsampling(self, x: torch.Tensor) -> torch.Tensor:
        return depthwise(F.conv_transpose2d(x, self.weight, stride=2), self.blur)

    def _activation(self, x: torch.Tensor, d: torch.Tensor, noise: torch.Tensor) -> torch.Tensor:
        x = torch.addcmul(noise, x, d[:, :, None, None].to(x.dtype)).add_(self.bias)
        return clamped(F.leaky_relu_(x, LRELU_SLOPE), self._clamp)


class ToRGB(nn.Module):
    """Applies a modulated 1x1 convolution to three colours, not demodulated; bias, clamp."""

    weight: torch.Tensor
    bias: torch.Tensor
    MEETS_MAPS = ("bias",)

    def __init__(self, weights: GeneratorWeights, resolution: int) -> None:
        super().__init__()
        own, settings = weights.part(f"to_rgb.{resolution}."), StyleGAN2Settings.of(weights.settings)
        self._clamp = settings.conv_clamp
        self.style = Style(own, settings.style_offset or 0, 1 / math.sqrt(own["weight"].shape[1]))
        self.register_buffer("weight", frozen(own["weight"]))
        self.register_buffer("bias", frozen(own["bias"])[:, None])

    def forward(self, x: torch.Tensor, w: torch.Tensor) -> torch.Tensor:
        """Map `x` [B, C, H, W] and w [B, w_dim] to [B, 3, H, W]."""
        # Three rows an image are cheaper to modulate than C maps.
        weight = self.weight * self.style(w)[:, None]
        return clamped(self._product(x, weight), self._clamp).to(w.dtype)

    def _product(self, x: torch.Tensor, weight: torch.Tensor) -> torch.Tensor:
        return torch.unflatten(torch.baddbmm(self.bias, weight.to(x.dtype), x.flatten(2)), 2, x.shape[2:])


class StyleGAN2(Generator):
    """Applies layers 1..L-1 to a learnt constant.

    skip: colours of all resolutions are added up; resnet: each resolution adds a 1x1 shortcut; orig: colours come
    from the last resolution only, or from the last two while the last one is fading in.
    """

    const: torch.Tensor
    fir: torch.Tensor
    skip_fir: torch.Tensor
    MEETS_MAPS = ("const", "skip_fir", *(f"skip_{r}" for r in resolutions(MAX_RESOLUTION)))

    def __init__(self, weights: GeneratorWeights) -> None:
        super().__init__(weights)
        self.register_buffer("const", frozen(weights.tensors["const"])[None])
        self.register_buffer("fir", blur_kernel(FIR, 4.0))
        settings = StyleGAN2Settings.of(weights.settings)
        resnet = settings.architecture == "resnet"
        # Both branches of a resnet block count sqrt 0.5; the main one inside its second layer.
        gains = [math.sqrt(0.5) if resnet and i % 2 and i > 1 else 1.0 for i in range(self.num_layers)]
        self.layers = nn.ModuleList(self._make_layer(weights, i, gains[i]) for i in range(1, self.num_layers))
        self.to_rgb = nn.ModuleDict({str(r): self._make_colours(weights, r) for r in settings.rgb_resolutions})
        self._shortcuts = resnet
        self._fading = bool(settings.fading)
        if resnet:
            self.register_buffer("skip_fir", blur_kernel(FIR, 4.0))
            for i in range(3, self.num_layers, 2):
                shortcut = weights.tensors[f"skip.{layer_resolution(i)}.weight"]
                scaled = frozen(shortcut, math.sqrt(0.5 / shortcut.shape[1]))
                self.register_buffer(f"skip_{layer_resolution(i)}", scaled[:, :, None, None])

    def _synthesis(self, ws: torch.Tensor, noise: Sequence[torch.Tensor] | None = None) -> torch.Tensor:
        x = block_input = self.const.expand(ws.shape[0], -1, -1, -1)
        image: torch.Tensor | None = None
        for i, layer in enumerate(self.layers, start=1):
            if i % 2 == 0:
                block_input = x
            x = layer(x, ws[:, i - 1], None if noise is None else noise[i - 1])
            r = layer_resolution(i)
            if i % 2 and i > 1 and self._shortcuts:
                x = x + upsample_fir(F.conv2d(block_input, getattr(self, f"skip_{r}")), self.skip_fir)
            if i % 2 and str(r) in self.to_rgb:
                rgb = self.to_rgb[str(r)](x, ws[:, i])
                image = rgb if image is None else rgb + self._enlarged(image)
        assert image is not None
        return image

    @staticmethod
    def _make_layer(weights: GeneratorWeights, index: int, gain: float) -> ModulatedLayer:
        return ModulatedLayer(weights, index, gain)

    @staticmethod
    def _make_colours(weights: GeneratorWeights, resolution: int) -> ToRGB:
        return ToRGB(weights, resolution)

    def _enlarged(self, image: torch.Tensor) -> torch.Tensor:
        return F.interpolate(image, scale_factor=2, mode="nearest") if self._fading else self._upsampled(image)

    def _upsampled(self, image: torch.Tensor) -> torch.Tensor:
        return upsample_fir(image, self.fir)
