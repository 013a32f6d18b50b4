"""This module is StyleGAN2's synthesis for the compiled step on a GPU: the function of `stylegan2` in other operators.

Upsampling and its 4 x 4 blur are joined to the convolution: one 3 x 3 convolution gives the four phases of the
result, which the next operator reads where they are. Depthwise convolutions of odd-sized maps, which they replace,
took two thirds of a step on an H200 (docs/gpu.md). Colours are sums of channels.
"""

from __future__ import annotations

from typing import cast

import torch
import torch.nn.functional as F

from i2s_batch.models.fused_operators import (
    Colours,
    compose,
    depth_to_space,
    phase_kernel,
    space_to_depth,
    upsample_colours,
)
from i2s_batch.models.modulated_activation import LastColours, Modulated, ModulatedColours
from i2s_batch.models.network_layout import layer_resolution
from i2s_batch.models.operators import LRELU_SLOPE, blur_kernel, clamped
from i2s_batch.models.stylegan2 import FIR, ModulatedLayer, StyleGAN2, ToRGB
from i2s_batch.models.weights import GeneratorWeights

_LINE = tuple(2 * tap / sum(FIR) for tap in FIR)


class FusedStyleGAN2(StyleGAN2):
    """Maps W+ latents [B, L, w_dim] to images [B, 3, R, R], as `StyleGAN2.synthesize`, in channels-last memory."""

    def forward(self, ws: torch.Tensor) -> torch.Tensor:
        """Map `ws` [B, L, w_dim] to images [B, 3, R, R]."""
        if self._shortcuts:  # sums of two branches are between layers and colours
            return self._synthesis(ws)
        layers = [cast(_FusedLayer, layer) for layer in self.layers]
        styles = [layer.style(ws[:, i]) for i, layer in enumerate(layers)]
        x = self.const.expand(ws.shape[0], -1, -1, -1)
        x = x * styles[0][:, :, None, None].to(x.dtype)
        image: torch.Tensor | None = None
        for i, layer in enumerate(layers, start=1):
            r, following = str(layer_resolution(i)), styles[i] if i < len(layers) else None
            colours = cast(_FusedToRGB, self.to_rgb[r]) if i % 2 and r in self.to_rgb else None
            weight = None if colours is None else colours.modulated(ws[:, i])
            x, sums = layer.to_next(x, styles[i - 1], following, weight)
            if colours is not None:
                rgb = colours.finished(sums).to(ws.dtype)
                image = rgb if image is None else rgb + self._enlarged(image)
        assert image is not None
        return image

    @staticmethod
    def _make_layer(*arguments: object) -> ModulatedLayer:
        return _FusedLayer(*arguments)  # type: ignore[arg-type]

    @staticmethod
    def _make_colours(*arguments: object) -> ToRGB:
        return _FusedToRGB(*arguments)  # type: ignore[arg-type]

    def _upsampled(self, image: torch.Tensor) -> torch.Tensor:
        return upsample_colours(image, _LINE)


class _FusedLayer(ModulatedLayer):
    """Computes the layer with its upsampling as one convolution.

    Its phases meet noise, bias and leaky ReLU as they are, in 2 x 2 blocks. So the gradient is written once, in the
    order in which the convolution's own gradient reads it.
    """

    def __init__(self, weights: GeneratorWeights, index: int, gain: float) -> None:
        super().__init__(weights, index, gain)
        if self._up:
            self.noise = space_to_depth(self.noise)[:, None]  # [4, 1, H, W]

    def _up_kernel(self, weight: torch.Tensor) -> torch.Tensor:
        return phase_kernel(compose(weight.transpose(0, 1), blur_kernel(FIR, 4.0)[0, 0]))

    def _upsampling(self, x: torch.Tensor) -> torch.Tensor:
        return F.conv2d(x, self.weight, None, padding=1)

    def to_next(
        self, x: torch.Tensor, s: torch.Tensor, following: torch.Tensor | None, weight: torch.Tensor | None
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Map `x`, which is modulated by the style `s` already, to the modulated input of the next layer and colours.

        Where there is no `following` style, or no `weight` of colours, that part of the result stands for nothing.
        """
        d = torch.rsqrt(F.linear(s.square(), self.power) + 1e-8) * self._gain
        c = self._upsampling(x) if self._up else F.conv2d(x, self.weight, padding=1)
        c = torch.unflatten(c, 1, (4 if self._up else 1, -1))  # [B, G, C, H, W]
        given = (c, d, self.noise, self.bias)
        if following is None:
            assert weight is not None
            sums = LastColours.apply(*given, weight, self._clamp)
            return sums, sums
        if weight is None:
            x = Modulated.apply(*given, following, self._clamp).flatten(1, 2)
            return (depth_to_space(x) if self._up else x), x
        x, sums = ModulatedColours.apply(*given, following, weight, self._clamp)
        return x.flatten(1, 2), sums

    def _activation(self, x: torch.Tensor, d: torch.Tensor, noise: torch.Tensor) -> torch.Tensor:
        # The stored noise alone: maps of an image's own are computed by the plain operators.
        # Without in-place operators, a compiler joins these to one.
        x = torch.unflatten(x, 1, (4 if self._up else 1, -1))  # [B, G, C, H, W]
        x = x * d[:, None, :, None, None].to(x.dtype) + noise + self.bias
        x = clamped(F.leaky_relu(x, LRELU_SLOPE), self._clamp).flatten(1, 2)
        return depth_to_space(x) if self._up else x


class _FusedToRGB(ToRGB):
    def modulated(self, w: torch.Tensor) -> torch.Tensor:
        """Return the weight of each image, [B, 3, C], for w [B, w_dim]."""
        weight: torch.Tensor = self.weight * self.style(w)[:, None]
        return weight

    def finished(self, sums: torch.Tensor) -> torch.Tensor:
        """Return the colours [B, 3, H, W] of sums over channels [B, 1, 3, H, W]."""
        return clamped(sums[:, 0] + self.bias[..., None], self._clamp)

    def _product(self, x: torch.Tensor, weight: torch.Tensor) -> torch.Tensor:
        colours: torch.Tensor = Colours.apply(x[:, None], weight)[:, 0]
        return colours + self.bias[..., None]
