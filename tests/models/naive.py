"""StyleGAN2 once more, slowly: the weight itself is modulated, one image at a time, and filters run on zero-inserted
images. Shares no formula's implementation with the package; checked itself against the reference arrays."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F

from i2s_batch.models import GeneratorWeights


def tensors_of(weights: GeneratorWeights) -> dict[str, torch.Tensor]:
    return {name: torch.from_numpy(value.astype(np.float64)) for name, value in weights.tensors.items()}


def lrelu(x: torch.Tensor) -> torch.Tensor:
    return torch.where(x > 0, x, 0.2 * x)


def second_moment(x: torch.Tensor) -> torch.Tensor:
    return x / (x.pow(2).mean() + 1e-8).sqrt()


def zero_inserted(x: torch.Tensor) -> torch.Tensor:
    """[1, C, H, W] -> [1, C, 2H, 2W], each pixel followed by zeros."""
    spread = torch.zeros(*x.shape[:2], 2 * x.shape[2], 2 * x.shape[3], dtype=x.dtype)
    spread[:, :, ::2, ::2] = x
    return spread


def filtered(x: torch.Tensor, before: int, after: int) -> torch.Tensor:
    taps = torch.tensor([1.0, 3.0, 3.0, 1.0], dtype=x.dtype)
    kernel = 4 * taps[:, None] * taps[None, :] / 64
    padded = F.pad(x, (before, after, before, after))
    return torch.cat([F.conv2d(padded[:, c : c + 1], kernel[None, None]) for c in range(x.shape[1])], 1)


def upsampled(x: torch.Tensor) -> torch.Tensor:
    return filtered(zero_inserted(x), 2, 1)


def mapped(weights: GeneratorWeights, z: torch.Tensor, label: torch.Tensor | None) -> torch.Tensor:
    """One z [z_dim] (and one label [c_dim]) -> w [w_dim]."""
    t = tensors_of(weights)
    x = second_moment(z)
    if label is not None and weights.settings.has_joint_labels:
        x = second_moment(torch.cat([z, t["label.weight"] @ label]))
    elif label is not None:
        embedded = t["label.weight"] @ label / math.sqrt(len(label)) + t["label.bias"]
        x = torch.cat([x, second_moment(embedded)])
    for j in range(weights.settings.mapping_layers):
        weight, bias = t[f"mapping.{j}.weight"], t[f"mapping.{j}.bias"]
        x = lrelu(weight @ x * (0.01 / math.sqrt(len(x))) + bias * 0.01) * math.sqrt(2)
    return x


def style(weights: GeneratorWeights, t: dict[str, torch.Tensor], name: str, w: torch.Tensor) -> torch.Tensor:
    plain = t[f"{name}.style.weight"] @ w / math.sqrt(len(w)) + t[f"{name}.style.bias"]
    return plain + (getattr(weights.settings, "style_offset", None) or 0)


def limited(x: torch.Tensor, limit: float | None) -> torch.Tensor:
    return x if limit is None else torch.where(x > limit, limit, torch.where(x < -limit, -limit, x))


def layer(weights: GeneratorWeights, t: dict[str, torch.Tensor], x: torch.Tensor, i: int, w: torch.Tensor, gain: float):
    name, settings = f"layer.{i}", weights.settings
    weight = t[f"{name}.weight"]
    if settings.demodulation == "scaled":
        weight = weight / math.sqrt(weight[0].numel())
    weight = weight * style(weights, t, name, w)[None, :, None, None]
    weight = weight / (weight.pow(2).sum((1, 2, 3), keepdim=True) + 1e-8).sqrt()
    if i % 2 == 0:
        # Full overlap of the zero-inserted image with a true convolution: 2H + 1.
        full = F.conv2d(F.pad(zero_inserted(x), (2, 1, 2, 1)), weight.flip(2, 3))
        x = filtered(full, 1, 1)
    else:
        x = F.conv2d(F.pad(x, (1, 1, 1, 1)), weight)
    x = x + t[f"{name}.noise"] * t[f"{name}.noise_strength"] + t[f"{name}.bias"][:, None, None]
    clamp = settings.conv_clamp
    return limited(lrelu(x) * math.sqrt(2) * gain, None if clamp is None else clamp * gain)


def to_rgb(weights: GeneratorWeights, t: dict[str, torch.Tensor], x: torch.Tensor, w: torch.Tensor) -> torch.Tensor:
    name = f"to_rgb.{x.shape[2]}"
    s = style(weights, t, name, w) / math.sqrt(x.shape[1])
    rgb = torch.einsum("oc,bchw->bohw", t[f"{name}.weight"] * s, x) + t[f"{name}.bias"][:, None, None]
    return limited(rgb, weights.settings.conv_clamp)


def synthesized(weights: GeneratorWeights, ws: torch.Tensor) -> torch.Tensor:
    """One code [L, w_dim] -> [1, 3, R, R]."""
    t, settings = tensors_of(weights), weights.settings
    architecture: Any = settings.architecture
    x = layer(weights, t, t["const"][None], 1, ws[0], 1.0)
    image = to_rgb(weights, t, x, ws[1]) if architecture == "skip" else None
    for i in range(2, len(ws), 2):
        block_input = x
        x = layer(weights, t, x, i, ws[i - 1], 1.0)
        gain = math.sqrt(0.5) if architecture == "resnet" else 1.0
        x = layer(weights, t, x, i + 1, ws[i], gain)
        if architecture == "resnet":
            shortcut = t[f"skip.{x.shape[2]}.weight"] / math.sqrt(block_input.shape[1])
            x = x + upsampled(torch.einsum("oc,bchw->bohw", shortcut, block_input)) * math.sqrt(0.5)
        if architecture == "skip":
            image = upsampled(image) + to_rgb(weights, t, x, ws[i + 1])
    return image if architecture == "skip" else to_rgb(weights, t, x, ws[-1])
