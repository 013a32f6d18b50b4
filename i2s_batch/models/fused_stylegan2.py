"""This module is StyleGAN2's synthesis for the compiled step on a GPU: the function of `stylegan2` in other operators.

Upsampling and its 4 x 4 blur are joined to the convolution: one 3 x 3 convolution gives the four phases of the
result, which the next operator reads where they are. Depthwise convolutions of odd-sized maps, which they replace,
took two thirds of a step on an H200 (docs/gpu.md). Colours are sums of channels.
"""

from __future__ import annotations

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
from i2s_batch.models.operators import LRELU_SLOPE, blur_kernel, clamped
from i2s_batch.models.stylegan2 import FIR, ModulatedLayer, StyleGAN2, ToRGB
from i2s_batch.models.weights import GeneratorWeights

_LINE = tuple(2 * tap / sum(FIR) for tap in FIR)


class FusedStyleGAN2(StyleGAN2):
    """Maps W+ latents [B, L, w_dim] to images [B, 3, R, R], as `StyleGAN2.synthesize`, in channels-last memory."""

    def forward(self, ws: torch.Tensor) -> torch.Tensor:
        """Map `ws` [B, L, w_dim] to images [B, 3, R, R]."""
        return self._synthesis(ws)

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

    def _activation(self, x: torch.Tensor, d: torch.Tensor, noise: torch.Tensor) -> torch.Tensor:
        # The stored noise alone: maps of an image's own are computed by the plain operators.
        # Without in-place operators, a compiler joins these to one.
        x = torch.unflatten(x, 1, (4 if self._up else 1, -1))  # [B, G, C, H, W]
        x = x * d[:, None, :, None, None].to(x.dtype) + noise + self.bias
        x = clamped(F.leaky_relu(x, LRELU_SLOPE), self._clamp).flatten(1, 2)
        return depth_to_space(x) if self._up else x


class _FusedToRGB(ToRGB):
    def _product(self, x: torch.Tensor, weight: torch.Tensor) -> torch.Tensor:
        colours: torch.Tensor = Colours.apply(x[:, None], weight)[:, 0]
        return colours + self.bias[..., None]
