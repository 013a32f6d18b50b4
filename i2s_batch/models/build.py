"""This module builds networks from weights."""

from __future__ import annotations

from functools import partial

import torch
from torch import nn

from i2s_batch.models.fused_stylegan1 import FusedStyleGAN1
from i2s_batch.models.fused_stylegan2 import FusedStyleGAN2
from i2s_batch.models.generator import Generator
from i2s_batch.models.network_settings import STYLEGAN1, STYLEGAN2, STYLEGAN3, StyleGAN1Settings
from i2s_batch.models.stylegan1 import StyleGAN1
from i2s_batch.models.stylegan2 import StyleGAN2
from i2s_batch.models.stylegan3 import StyleGAN3
from i2s_batch.models.vgg import VGG16
from i2s_batch.models.weights import GeneratorWeights, VGGWeights

_FUSED: dict[str, type[nn.Module]] = {STYLEGAN1: FusedStyleGAN1, STYLEGAN2: FusedStyleGAN2}
_FAMILIES: dict[str, type[Generator]] = {STYLEGAN1: StyleGAN1, STYLEGAN2: StyleGAN2, STYLEGAN3: StyleGAN3}


def build_generator(
    weights: GeneratorWeights,
    device: str | torch.device = "cpu",
    dtype: torch.dtype = torch.float32,
    maps: torch.dtype | None = None,
) -> Generator:
    """Return a frozen generator; scales are folded into the weights in float64, then rounded to `dtype`.

    `maps`: the dtype of feature maps and of what they are convolved with (None: `dtype`); styles, demodulation, the
    sums of norms, colours and images stay in `dtype`.

    Raises CheckpointError, naming the variable, if one is missing or misshapen.
    """
    generator = _FAMILIES[weights.family](weights).to(device, dtype).eval()
    _use_for_maps(generator, maps)
    generator.activations = maps or dtype
    if weights.family in _FUSED and not _is_fading_stylegan1(weights):
        generator.build_fused = partial(build_fused, weights, device, dtype, maps)
    return generator


def _is_fading_stylegan1(weights: GeneratorWeights) -> bool:
    return isinstance(weights.settings, StyleGAN1Settings) and bool(weights.settings.fading)


def build_fused(
    weights: GeneratorWeights,
    device: str | torch.device,
    dtype: torch.dtype,
    maps: torch.dtype | None = None,
    layout: str = "nhwc",
) -> nn.Module:
    """Return the synthesis, W+ latents [B, L, w_dim] -> images [B, 3, R, R], in the operators of the compiled step.

    It equals `build_generator(...).synthesize` up to rounding. Raises KeyError for networks that have none: StyleGAN3,
    and a StyleGAN1 whose last resolution is fading in.
    """
    if _is_fading_stylegan1(weights):
        raise KeyError(weights.origin)
    network = _FUSED[weights.family](weights).to(device, dtype).eval()
    _use_for_maps(network, maps)
    return use_layout(network, layout)


def use_layout(network: nn.Module, layout: str) -> nn.Module:
    """Keep the kernels of `network` as `nchw` or `nhwc` (channels last), in place. The values stay the same."""
    return network.to(memory_format=torch.channels_last if layout == "nhwc" else torch.contiguous_format)


def build_vgg(
    weights: VGGWeights,
    device: str | torch.device = "cpu",
    dtype: torch.dtype = torch.float32,
    maps: torch.dtype | None = None,
) -> VGG16:
    """Return a frozen VGG-16 front end, its feature maps in `maps` (None: `dtype`).

    Raises CheckpointError, naming the variable, if one is missing or misshapen.
    """
    vgg = VGG16(weights).to(device, dtype).eval()
    _use_for_maps(vgg, maps)
    return vgg


def _use_for_maps(network: nn.Module, maps: torch.dtype | None) -> None:
    """Round what meets feature maps (`MEETS_MAPS` of each module) to `maps`."""
    if maps is None:
        return
    for module in network.modules():
        for name in getattr(module, "MEETS_MAPS", ()):
            if name in module._buffers:
                setattr(module, name, getattr(module, name).to(maps))
