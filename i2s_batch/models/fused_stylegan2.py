"""StyleGAN2's synthesis for the compiled step on a GPU: the same function as `stylegan2`, cut into other operators.

Upsampling and its 4 x 4 blur are joined to the convolution: one 3 x 3 convolution gives the four phases of the
result, which the next operator reads in their places. Depthwise convolutions of odd-sized maps, which they replace,
took two thirds of a step on an H200 (docs/gpu.md). Colours are sums of channels.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F

from i2s_batch.models.fused_operators import Colours, compose, depth_to_space, phase_kernel, upsample_colours
from i2s_batch.models.operators import LRELU_SLOPE, blur_kernel, clamped
from i2s_batch.models.stylegan2 import FIR, ModulatedLayer, StyleGAN2, ToRGB

_LINE = tuple(2 * tap / sum(FIR) for tap in FIR)


class FusedStyleGAN2(StyleGAN2):
    """W+ latents [B, L, w_dim] -> images [B, 3, R, R], as `StyleGAN2.synthesize`, in channels-last memory."""

    def forward(self, ws: torch.Tensor) -> torch.Tensor:
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
    def _up_kernel(self, weight: torch.Tensor) -> torch.Tensor:
        return phase_kernel(compose(weight.transpose(0, 1), blur_kernel(FIR, 4.0)[0, 0]))

    def _upsampling(self, x: torch.Tensor) -> torch.Tensor:
        return depth_to_space(F.conv2d(x, self.weight, None, padding=1))

    def _activation(self, x: torch.Tensor, d: torch.Tensor) -> torch.Tensor:
        # Without in-place operators: a compiler joins these to one.
        x = x * d[:, :, None, None].to(x.dtype) + self.noise + self.bias
        return clamped(F.leaky_relu(x, LRELU_SLOPE), self._clamp)


class _FusedToRGB(ToRGB):
    def _product(self, x: torch.Tensor, weight: torch.Tensor) -> torch.Tensor:
        colours: torch.Tensor = Colours.apply(x[:, None], weight)[:, 0]
        return colours + self.bias[..., None]
