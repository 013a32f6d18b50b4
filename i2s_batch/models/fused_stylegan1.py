"""This module is StyleGAN1's synthesis for the compiled step on a GPU: the function of `stylegan1` in other operators.

The last resolution has few channels (16 at 1024), with which a GPU's matrix units are mostly idle. It is computed in
2 x 2 blocks: [B, C, 2 H, 2 W] as [B, 4 C, H, W], channels ordered as (row phase, column phase, C). There, upsampling,
convolution and blur are one 3 x 3 convolution, but for the outermost pixels, which `BlockedUpsampling` corrects.
"""

from __future__ import annotations

import math
from typing import Any

import torch
import torch.nn.functional as F
from torch import nn

from i2s_batch.models.fused_operators import (
    Blur,
    Colours,
    StyledActivation,
    block_kernel,
    compose,
    depth_to_space,
    phase_kernel,
    space_to_depth,
)
from i2s_batch.models.operators import SQRT2, blur_kernel, frozen, nearest_then_conv_kernel
from i2s_batch.models.weights import GeneratorWeights

BLOCKED_CHANNELS = 16  # up to here the last resolution is computed in blocks; from 32 on nothing is gained
_LINE = (0.25, 0.5, 0.25)


class FusedStyleGAN1(nn.Module):
    """Maps W+ latents [B, L, w_dim] to images [B, 3, R, R], as `StyleGAN1.synthesize`, in channels-last memory."""

    const: torch.Tensor
    rgb_weight: torch.Tensor
    rgb_bias: torch.Tensor
    MEETS_MAPS = ("const",)

    def __init__(self, weights: GeneratorWeights) -> None:
        super().__init__()
        count = weights.latent_shape[0]
        self._blocked = weights.tensors["to_rgb.weight"].shape[1] <= BLOCKED_CHANNELS and count > 2
        self.register_buffer("const", frozen(weights.tensors["const"])[None])
        in_blocks = [self._blocked and i >= count - 2 for i in range(count)]
        self.layers = nn.ModuleList(_layer(weights, i, in_blocks[i]) for i in range(count))
        rgb = weights.tensors["to_rgb.weight"]
        self.register_buffer("rgb_weight", frozen(rgb, 1 / math.sqrt(rgb.shape[1]))[None])
        self.register_buffer("rgb_bias", frozen(weights.tensors["to_rgb.bias"])[:, None, None])

    def forward(self, ws: torch.Tensor) -> torch.Tensor:
        """Map `ws` [B, L, w_dim] to images [B, 3, R, R]."""
        x = self.const.expand(ws.shape[0], -1, -1, -1).contiguous(memory_format=torch.channels_last)
        for i, layer in enumerate(self.layers):
            x = layer(x, ws[:, i])
        groups = 4 if self._blocked else 1
        weight = self.rgb_weight.expand(ws.shape[0], -1, -1)
        colours: torch.Tensor = Colours.apply(torch.unflatten(x, 1, (groups, -1)), weight)
        image = (colours + self.rgb_bias).flatten(1, 2)
        return (depth_to_space(image) if self._blocked else image).to(ws.dtype)


class _StyledLayer(nn.Module):
    """Applies a convolution, then noise, bias, leaky ReLU, instance norm and style in one operator."""

    bias: torch.Tensor
    noise: torch.Tensor
    noise_strength: torch.Tensor
    style_weight: torch.Tensor
    style_bias: torch.Tensor
    MEETS_MAPS: tuple[str, ...] = ("bias", "noise", "noise_strength")

    def __init__(self, weights: GeneratorWeights, index: int, blocked: bool, convolution: nn.Module) -> None:
        super().__init__()
        own = weights.part(f"layer.{index}.")
        self.convolution = convolution
        channels = own["bias"].shape[0]
        self._groups = 4 if blocked else 1
        self.register_buffer("bias", frozen(own["bias"]))
        noise = frozen(own["noise"])
        self.register_buffer("noise", (space_to_depth(noise) if blocked else noise[None])[:, None])
        self.register_buffer("noise_strength", frozen(own["noise_strength"])[:, None, None])
        style = own["style.weight"]
        self.register_buffer("style_weight", frozen(style, 1 / math.sqrt(style.shape[1])))
        style_bias = frozen(own["style.bias"])
        style_bias[:channels] += 1  # x * (s0 + 1) + s1
        self.register_buffer("style_bias", style_bias)

    def forward(self, x: torch.Tensor, w: torch.Tensor) -> torch.Tensor:
        """Map `x` [B, C, H, W] and w [B, w_dim] to [B, C', H', W'], in 2 x 2 blocks if the layer is."""
        scale, shift = F.linear(w, self.style_weight, self.style_bias).chunk(2, 1)
        t = torch.unflatten(self.convolution(x), 1, (self._groups, -1))
        styled: torch.Tensor = StyledActivation.apply(t, self.bias, self.noise, self.noise_strength, scale, shift)
        return styled.flatten(1, 2)


def _layer(weights: GeneratorWeights, index: int, blocked: bool) -> _StyledLayer:
    if not index:
        return _StyledLayer(weights, index, blocked, nn.Identity())
    raw = weights.tensors[f"layer.{index}.weight"]
    weight = frozen(raw, SQRT2 / math.sqrt(raw[0].size))
    kinds: dict[tuple[bool, bool], type[nn.Module]] = {
        (True, False): _Convolution,
        (True, True): _BlockedConvolution,
        (False, False): _Upsampling,
        (False, True): BlockedUpsampling,
    }
    return _StyledLayer(weights, index, blocked, kinds[bool(index % 2), blocked](weight))


class _Convolution(nn.Module):
    """Convolves 3 x 3 with zeros around and without bias."""

    weight: torch.Tensor
    MEETS_MAPS = ("weight",)

    def __init__(self, weight: torch.Tensor) -> None:
        super().__init__()
        self.register_buffer("weight", weight)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return F.conv2d(x, self.weight, None, padding=1)


class _BlockedConvolution(_Convolution):
    """Does the same between images in 2 x 2 blocks: [B, 4 C, H, W] -> [B, 4 C', H, W]."""

    def __init__(self, weight: torch.Tensor) -> None:
        super().__init__(block_kernel(weight))


class _Upsampling(nn.Module):
    """Applies nearest upsampling, 3 x 3 convolution and blur: [B, C, H, W] -> [B, C', 2 H, 2 W]."""

    weight: torch.Tensor
    blur: torch.Tensor
    MEETS_MAPS = ("weight", "blur")

    def __init__(self, weight: torch.Tensor) -> None:
        super().__init__()
        self.register_buffer("weight", nearest_then_conv_kernel(weight))
        self.register_buffer("blur", blur_kernel((1, 2, 1)).repeat(weight.shape[0], 1, 1, 1))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        blurred: torch.Tensor = Blur.apply(F.conv_transpose2d(x, self.weight, stride=2, padding=1), self.blur)
        return blurred


class BlockedUpsampling(nn.Module):
    """Applies nearest upsampling, 3 x 3 convolution and blur as one 3 x 3 convolution: [B, C, H, W] -> [B, 4 C', H, W].

    The blur takes zeros beyond the border, where the joint kernel would take what the convolution gives one pixel
    outside. That ring reaches the outermost pixels only: its share is a small convolution of the outermost row or
    column of the input, and is subtracted. The ring's corners belong to a row and to a column: they are added once.
    """

    weight: torch.Tensor
    edges: torch.Tensor
    corners: torch.Tensor
    MEETS_MAPS = ("weight", "edges", "corners")

    def __init__(self, weight: torch.Tensor) -> None:
        super().__init__()
        kernel = nearest_then_conv_kernel(weight)  # [I, O, 4, 4], stride 2, padding 1
        blur = blur_kernel((1, 2, 1))[0, 0]
        self.register_buffer("weight", phase_kernel(compose(kernel, blur)))
        line = torch.tensor(_LINE, dtype=kernel.dtype)
        # Taps of the ring's row above, row below, column left, column right: [4, I, O, 4].
        taps = torch.stack([kernel[:, :, 0], kernel[:, :, 3], kernel[:, :, :, 0], kernel[:, :, :, 3]])
        along = _blurred(taps, line)
        phases = [along[..., [p + 2 - 2 * t for t in (-1, 0, 1)]] for p in (0, 1)]  # each [4, I, O, 3]
        self.register_buffer("edges", torch.stack(phases, 2).permute(0, 2, 3, 1, 4).flatten(1, 2) * line[0])
        corner = kernel[:, :, [0, 0, 3, 3], [0, 3, 0, 3]] * line[0] * line[0]  # [I, O, 4]
        self.register_buffer("corners", corner.permute(2, 1, 0).contiguous())  # [4, O, I]

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Map `x` [B, C, H, W] to [B, 4 C', H, W]."""
        y = torch.unflatten(F.conv2d(x, self.weight, None, padding=1), 1, (2, 2, -1))  # [B, p, q, O, H, W]
        strips = (x[:, :, 0], x[:, :, -1], x[..., 0], x[..., -1])
        edges = [
            torch.unflatten(F.conv1d(strip, kernel, None, padding=1), 1, (2, -1))
            for strip, kernel in zip(strips, self.edges, strict=True)
        ]
        corners = torch.stack([x[:, :, row, column] for row in (0, -1) for column in (0, -1)])  # [4, B, I]
        share = torch.unflatten(torch.einsum("kbi,koi->bko", corners, self.corners), 1, (2, 2))  # [B, p, q, O]
        phases: torch.Tensor = _MinusRing.apply(y, *edges, share)
        return phases.flatten(1, 3)


class _MinusRing(torch.autograd.Function):
    """Subtract shares from the outermost pixels of an image in 2 x 2 blocks, `y` [B, 2, 2, O, H, W].

    `above`, `below` [B, q, O, W] belong to row phase 0 of the first row of blocks and phase 1 of the last, `left`,
    `right` [B, p, O, H] likewise to the columns; `corners` [B, p, q, O] are added. Written out, so that the gradients
    of the shares are slices, where a compiler would make sums over the whole image.
    """

    @staticmethod
    def forward(
        ctx: Any,
        y: torch.Tensor,
        above: torch.Tensor,
        below: torch.Tensor,
        left: torch.Tensor,
        right: torch.Tensor,
        corners: torch.Tensor,
    ) -> torch.Tensor:
        first_row, first_column = (_ends(y, axis) for axis in (4, 5))
        rows = torch.stack([above, below], 1)[..., None, :]  # [B, p, q, O, 1, W]
        columns = torch.stack([left, right], 2)[..., None]  # [B, p, q, O, H, 1]
        ring = torch.where(first_row, rows, 0.0) + torch.where(first_column, columns, 0.0)
        return y - ring + torch.where(first_row & first_column, corners[..., None, None], 0.0)

    @staticmethod
    def backward(ctx: Any, gradient: torch.Tensor) -> Any:
        g = gradient
        rows = (-g[:, 0, :, :, 0], -g[:, 1, :, :, -1])
        columns = (-g[:, :, 0, ..., 0], -g[:, :, 1, ..., -1])
        ends = ((0, 0), (1, -1))
        corners = torch.stack([torch.stack([g[:, p, q, :, r, c] for q, c in ends], 1) for p, r in ends], 1)
        return (g, *rows, *columns, corners)


def _ends(y: torch.Tensor, axis: int) -> torch.Tensor:
    """Return where the outermost pixels of `y` [B, 2, 2, O, H, W] are along the rows (`axis` 4) or columns (5).

    They are in phase 0 of the first block and in phase 1 of the last.
    """
    size = y.shape[axis]
    positions, phases = torch.arange(size, device=y.device), torch.arange(2, device=y.device)
    ends = torch.where(phases[:, None] == 0, positions == 0, positions == size - 1)  # [phase, block]
    return ends[:, None, None, :, None] if axis == 4 else ends[None, :, None, None, :]


def _blurred(taps: torch.Tensor, line: torch.Tensor) -> torch.Tensor:
    """Return the full convolution of `taps` [..., 4] with `line` [3]: [..., 6]."""
    flat = taps.reshape(-1, 1, taps.shape[-1])
    return F.conv1d(flat, line.flip(0)[None, None].to(flat), padding=2).reshape(*taps.shape[:-1], -1)
