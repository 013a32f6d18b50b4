"""This module is the mapping network of every family: z (and a class label) to w."""

from __future__ import annotations

import math

import numpy as np
import torch
import torch.nn.functional as F
from torch import nn

from i2s_batch.models.network_settings import STYLEGAN1
from i2s_batch.models.operators import LRELU_SLOPE, SQRT2, frozen, normalize_mean_square
from i2s_batch.models.weights import GeneratorWeights

_MEAN_SAMPLES = 4096
_MEAN_CHUNK = 512


class Mapping(nn.Module):
    """Applies fully connected layers with leaky ReLU. The gain sqrt 2 of each layer and the 0.01 are in the buffers."""

    label_weight: torch.Tensor
    label_bias: torch.Tensor

    def __init__(self, weights: GeneratorWeights) -> None:
        super().__init__()
        settings, tensors = weights.settings, weights.tensors
        self._joint = settings.has_joint_labels
        gain_in_weight = weights.family == STYLEGAN1
        self._depth = settings.mapping_layers
        lr = settings.mapping_lr_multiplier
        for j in range(self._depth):
            weight = tensors[f"mapping.{j}.weight"]
            self.register_buffer(f"weight_{j}", frozen(weight, SQRT2 * lr / math.sqrt(weight.shape[1])))
            # StyleGAN1 has its sqrt 2 in the weight, StyleGAN2 after the activation, which is homogeneous.
            self.register_buffer(
                f"bias_{j}", frozen(tensors[f"mapping.{j}.bias"], lr if gain_in_weight else SQRT2 * lr)
            )
        if settings.c_dim:
            label = tensors["label.weight"]
            bias = np.zeros(label.shape[0]) if self._joint else tensors["label.bias"]
            scale = 1.0 if self._joint else 1 / math.sqrt(label.shape[1])
            self.register_buffer("label_weight", frozen(label, scale))
            self.register_buffer("label_bias", frozen(bias))

    def forward(self, z: torch.Tensor, labels: torch.Tensor | None) -> torch.Tensor:
        """Map `z` [B, z_dim], and `labels` [B, c_dim] if and only if conditional, to w [B, w_dim], not truncated."""
        if labels is None:
            x = normalize_mean_square(z)
        else:
            label = F.linear(labels, self.label_weight, self.label_bias)
            if self._joint:
                x = normalize_mean_square(torch.cat([z, label], 1))
            else:
                x = torch.cat([normalize_mean_square(z), normalize_mean_square(label)], 1)
        for j in range(self._depth):
            x = F.leaky_relu(F.linear(x, getattr(self, f"weight_{j}"), getattr(self, f"bias_{j}")), LRELU_SLOPE)
        return x


def mean_latent(weights: GeneratorWeights, z_dim: int) -> np.ndarray:
    """Return the mean of w over 4,096 seeded z (classes in turn): float32 [w_dim].

    For files that store no average. Computed in float64, so that the rounded value, and with it the
    fingerprint, is the same on every machine.
    """
    mapping = Mapping(weights)
    stream = np.random.RandomState(0)
    classes = weights.settings.c_dim
    total = torch.zeros(weights.tensors[f"mapping.{weights.settings.mapping_layers - 1}.bias"].shape[0]).double()
    for start in range(0, _MEAN_SAMPLES, _MEAN_CHUNK):
        z = torch.from_numpy(stream.standard_normal((_MEAN_CHUNK, z_dim)))
        turn = torch.arange(start, start + _MEAN_CHUNK)
        labels = F.one_hot(turn % classes, classes).double() if classes else None
        total += mapping(z, labels).sum(0)
    return (total / _MEAN_SAMPLES).numpy().astype(np.float32)
