"""StyleGAN3 once more, slowly: the weight itself is modulated, one image at a time, zeros are written between pixels
and filters are one square kernel. Shares no formula's implementation with the package; checked itself against the
reference arrays."""

from __future__ import annotations

import math
from typing import Any

import torch
import torch.nn.functional as F

from i2s_batch.models import GeneratorWeights

from .naive import limited, lrelu, style, tensors_of


def waves(weights: GeneratorWeights, t: dict[str, torch.Tensor], w: torch.Tensor, transform: torch.Tensor):
    settings, motion = weights.settings, style(weights, t, "input", w)
    motion = motion / math.hypot(motion[0], motion[1])
    rotation = torch.eye(3, dtype=w.dtype)
    rotation[0, 0], rotation[0, 1], rotation[1, 0], rotation[1, 1] = motion[0], -motion[1], motion[1], motion[0]
    translation = torch.eye(3, dtype=w.dtype)
    translation[0, 2], translation[1, 2] = -motion[2], -motion[3]
    matrix = rotation @ translation @ transform
    size, rate, band = (settings.input_size, settings.sampling_rate, settings.bandwidth)
    at = (torch.arange(size, dtype=w.dtype) + 0.5 - size / 2) / rate
    features = []
    for freq, phase in zip(t["input.freqs"], t["input.phases"], strict=True):
        moved = freq @ matrix[:2, :2]
        amplitude = 1 - (moved.norm() - band) / (rate / 2 - band)
        turns = moved[0] * at[None, :] + moved[1] * at[:, None] + phase + freq @ matrix[:2, 2]
        features.append(torch.sin(2 * math.pi * turns) * min(1.0, max(0.0, float(amplitude))))
    return torch.einsum("oc,chw->ohw", t["input.weight"], torch.stack(features))[None] / math.sqrt(len(features))


def filtered(x: torch.Tensor, kernel: torch.Tensor) -> torch.Tensor:
    """A true convolution of each channel, without padding, by `kernel` [n] along both axes or [n, n]."""
    square = torch.outer(kernel, kernel) if kernel.ndim == 1 else kernel
    return torch.cat([F.conv2d(x[:, c : c + 1], square.flip(0, 1)[None, None]) for c in range(x.shape[1])], 1)


def layer(weights: GeneratorWeights, t: dict[str, torch.Tensor], x: torch.Tensor, i: int, w: torch.Tensor):
    name, shape = f"layer.{i}", weights.settings.layers[i]
    last = i == len(weights.settings.layers) - 1
    weight, s = t[f"{name}.weight"], style(weights, t, name, w)
    if last:
        weight = weight * (s / math.sqrt(len(s)))[None, :, None, None]
    else:
        weight = weight / weight.pow(2).mean((1, 2, 3), keepdim=True).sqrt()
        weight = weight * (s / s.pow(2).mean().sqrt())[None, :, None, None]
        weight = weight / (weight.pow(2).sum((1, 2, 3), keepdim=True) + 1e-8).sqrt()
    margin = shape.kernel - 1
    x = F.conv2d(F.pad(x, (margin,) * 4), weight / t[f"{name}.magnitude"].sqrt())
    x = x + t[f"{name}.bias"][:, None, None]
    clamp: Any = weights.settings.conv_clamp
    if last:
        return limited(x, clamp) * weights.settings.output_scale
    up = shape.up
    spread = torch.zeros(*x.shape[:2], x.shape[2] * up, x.shape[3] * up, dtype=x.dtype)
    spread[:, :, ::up, ::up] = x
    x = filtered(F.pad(spread, shape.padding), t[f"{name}.up_filter"]) * up**2
    x = limited(lrelu(x) * math.sqrt(2), clamp)
    return filtered(x, t[f"{name}.down_filter"])[:, :, :: shape.down, :: shape.down]


def synthesized(weights: GeneratorWeights, ws: torch.Tensor, transform: torch.Tensor | None = None) -> torch.Tensor:
    """One code [L, w_dim] -> [1, 3, R, R]."""
    t = tensors_of(weights)
    x = waves(weights, t, ws[0], torch.eye(3, dtype=ws.dtype) if transform is None else transform)
    for i, w in enumerate(ws[1:]):
        x = layer(weights, t, x, i, w)
    return x
