"""This module is the affine layer between a w and a layer's channels, as StyleGAN2 and StyleGAN3 have it."""

from __future__ import annotations

import math
from collections.abc import Mapping

import numpy as np
import torch
import torch.nn.functional as F
from torch import nn

from i2s_batch.models.operators import frozen


class Style(nn.Module):
    """Maps w [B, w_dim] to the scale of each input channel [B, C], times `gain`. `own` has style.weight, style.bias."""

    weight: torch.Tensor
    bias: torch.Tensor

    def __init__(self, own: Mapping[str, np.ndarray], offset: float = 0, gain: float = 1.0) -> None:
        super().__init__()
        weight = own["style.weight"]
        self.register_buffer("weight", frozen(weight, gain / math.sqrt(weight.shape[1])))
        # Added here, in float64: rounded into a float32 file, bias + 1 would move images by up to 4e-7.
        self.register_buffer("bias", frozen(own["style.bias"], gain) + offset * gain)

    def forward(self, w: torch.Tensor) -> torch.Tensor:
        """Map w [B, w_dim] to the scales [B, C]."""
        return F.linear(w, self.weight, self.bias)
