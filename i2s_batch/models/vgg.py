"""This module is the VGG-16 front end of the perceptual loss (Simonyan and Zisserman 2015)."""

from __future__ import annotations

import math
from itertools import pairwise

import numpy as np
import torch
import torch.nn.functional as F
from torch import nn

from i2s_batch.errors import CheckpointError, ConfigError
from i2s_batch.models.network_layout import check_shape
from i2s_batch.models.operators import frozen
from i2s_batch.models.weights import VGG_LAYERS, VGG_LAYERS_TO_CONV4_2, VGG_WIDTHS, VGGWeights

# The layers that the loss compares, and those after a 2x2 max pooling: torchvision's indices of the convolutions.
TAPPED = (0, 2, 12, 19)
AFTER_POOLING = (5, 10, 17)
# ImageNet, RGB in [0, 1].
_MEAN = (0.485, 0.456, 0.406)
_DEVIATION = (0.229, 0.224, 0.225)
# The paper reduces images to this before VGG-16.
SIDE = 256


class VGG16(nn.Module):
    """Computes conv1_1, conv1_2, conv3_2 and conv4_2 of an image, after their ReLU. It is frozen and of any widths."""

    weight_0: torch.Tensor
    scale: torch.Tensor
    shift: torch.Tensor
    MEETS_MAPS = tuple(f"{kind}_{layer}" for layer in VGG_LAYERS[:VGG_LAYERS_TO_CONV4_2] for kind in ("weight", "bias"))

    def __init__(self, weights: VGGWeights) -> None:
        super().__init__()
        check_vgg(weights)
        self.fingerprint, self.origin = weights.fingerprint, weights.origin
        for layer in VGG_LAYERS[:VGG_LAYERS_TO_CONV4_2]:
            self.register_buffer(f"weight_{layer}", frozen(weights.tensors[f"features.{layer}.weight"]))
            self.register_buffer(f"bias_{layer}", frozen(weights.tensors[f"features.{layer}.bias"]))
        mean, deviation = (torch.tensor(v, dtype=torch.float64)[:, None, None] for v in (_MEAN, _DEVIATION))
        # ((x + 1) / 2 - mean) / deviation = x * scale + shift
        self.register_buffer("scale", 0.5 / deviation)
        self.register_buffer("shift", (0.5 - mean) / deviation)

    def forward(self, images: torch.Tensor) -> tuple[torch.Tensor, ...]:
        """Map images [B, 3, H, W] in [-1, 1] to four feature maps [B, C, H', W'].

        Images larger than 256 are multiples of 256 and reduced by box means; H' = H, H, H/4, H/8 of the reduced image.
        Raises ConfigError for another shape.
        """
        x = torch.addcmul(self.shift, _reduced(images), self.scale).to(self.weight_0.dtype)
        features = []
        for layer in VGG_LAYERS[:VGG_LAYERS_TO_CONV4_2]:
            if layer in AFTER_POOLING:
                x = F.max_pool2d(x, 2)
            x = F.relu_(F.conv2d(x, getattr(self, f"weight_{layer}"), getattr(self, f"bias_{layer}"), padding=1))
            if layer in TAPPED:
                features.append(x)
        return tuple(features)


def _reduced(images: torch.Tensor) -> torch.Tensor:
    if images.ndim != 4 or images.shape[1] != 3 or images.shape[2] != images.shape[3]:
        raise ConfigError(f"images have the shape {list(images.shape)}; ['B', 3, R, R] is needed")
    side = images.shape[2]
    if side <= SIDE:
        return images
    if side % SIDE:
        raise ConfigError(f"images are {side} pixels wide; above {SIDE} a multiple of {SIDE} is needed")
    return F.avg_pool2d(images, side // SIDE)


def check_vgg(weights: VGGWeights) -> None:
    """Raise CheckpointError unless the convolutions up to conv4_2, and any later ones, make a chain from RGB."""
    tensors = weights.tensors
    inputs = 3
    for position, layer in enumerate(VGG_LAYERS):
        kernel, bias = f"features.{layer}.weight", f"features.{layer}.bias"
        if position >= VGG_LAYERS_TO_CONV4_2 and kernel not in tensors:
            break
        if kernel not in tensors or tensors[kernel].ndim != 4 or not tensors[kernel].size:
            raise CheckpointError(f"the variable {kernel} [out, {inputs}, 3, 3] of a VGG-16 is missing or misshapen")
        outputs = tensors[kernel].shape[0]
        check_shape(kernel, tensors[kernel].shape, (outputs, inputs, 3, 3))
        check_shape(bias, tensors[bias].shape if bias in tensors else None, (outputs,))
        inputs = outputs


def random_vgg(seed: int = 0, narrow: int = 1) -> VGGWeights:
    """Return He-normal weights and no bias up to conv4_2, at VGG-16's widths divided by `narrow`.

    They are the same for a seed everywhere.
    """
    stream = np.random.RandomState(seed)
    tensors = {}
    widths = (3, *(width // narrow for width in VGG_WIDTHS[:VGG_LAYERS_TO_CONV4_2]))
    for layer, (inputs, outputs) in zip(VGG_LAYERS, pairwise(widths), strict=False):
        drawn = stream.standard_normal((outputs, inputs, 3, 3)) * math.sqrt(2 / (9 * inputs))
        tensors[f"features.{layer}.weight"] = drawn.astype(np.float32)
        tensors[f"features.{layer}.bias"] = np.zeros(outputs, np.float32)
    origin = f"random VGG-16, seed {seed}" + (f", widths / {narrow}" if narrow > 1 else "")
    return VGGWeights(tensors, origin, is_random=True)
