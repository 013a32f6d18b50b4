"""Modules from weights."""

from __future__ import annotations

import torch

from i2s_batch.models.generator import Generator
from i2s_batch.models.layout import STYLEGAN1, STYLEGAN2, STYLEGAN3
from i2s_batch.models.stylegan1 import StyleGAN1
from i2s_batch.models.stylegan2 import StyleGAN2
from i2s_batch.models.stylegan3 import StyleGAN3
from i2s_batch.models.vgg import VGG16
from i2s_batch.models.weights import GeneratorWeights, VGGWeights

_FAMILIES: dict[str, type[Generator]] = {STYLEGAN1: StyleGAN1, STYLEGAN2: StyleGAN2, STYLEGAN3: StyleGAN3}


def build_generator(
    weights: GeneratorWeights, device: str | torch.device = "cpu", dtype: torch.dtype = torch.float32
) -> Generator:
    """A frozen generator; scales are folded into the weights in float64, then rounded to `dtype`.

    Raises CheckpointError, naming the variable, if one is missing or misshapen.
    """
    # An unknown family is refused by the check that all classes share.
    return _FAMILIES.get(weights.family, StyleGAN1)(weights).to(device, dtype).eval()


def build_vgg(weights: VGGWeights, device: str | torch.device = "cpu", dtype: torch.dtype = torch.float32) -> VGG16:
    """A frozen VGG-16 front end; raises CheckpointError, naming the variable, if one is missing or misshapen."""
    return VGG16(weights).to(device, dtype).eval()
