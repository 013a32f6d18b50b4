"""This module counts the multiplications of a forward pass of one image, from the shapes of the weights alone.

Only convolutions are counted, which take nearly all of the time. It is for estimates that a factor of two cannot spoil.
"""

from __future__ import annotations

from i2s_batch.models.network_layout import layer_resolution
from i2s_batch.models.network_settings import StyleGAN3Settings
from i2s_batch.models.stylegan3_layout import input_sizes
from i2s_batch.models.vgg import AFTER_POOLING, SIDE
from i2s_batch.models.weights import VGG_LAYERS, VGG_LAYERS_TO_CONV4_2, GeneratorWeights, VGGWeights


def generator_work(weights: GeneratorWeights) -> float:
    """Return the multiplications of the synthesis of one image."""
    settings = weights.settings
    if isinstance(settings, StyleGAN3Settings):
        sides = dict(enumerate(input_sizes(settings)))
    else:
        # Layers with even numbers enlarge, and convolve what they take.
        sides = {layer: layer_resolution(layer - 1 + layer % 2) for layer in range(1, settings.latents)}
    kernels = {layer: weights.tensors.get(f"layer.{layer}.weight") for layer in sides}
    return float(sum(kernel.size * sides[layer] ** 2 for layer, kernel in kernels.items() if kernel is not None))


def vgg_work(weights: VGGWeights, resolution: int) -> float:
    """Return the multiplications of VGG-16, up to conv4_2, over an image of `resolution` pixels."""
    side, work = min(resolution, SIDE), 0
    for layer in VGG_LAYERS[:VGG_LAYERS_TO_CONV4_2]:
        side = side // 2 if layer in AFTER_POOLING else side
        work += weights.tensors[f"features.{layer}.weight"].size * side**2
    return float(work)
