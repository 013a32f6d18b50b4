"""This package holds StyleGAN1 to 3 and VGG-16 on PyTorch, and the readers of their files.

It needs torch and numpy alone.
"""

from i2s_batch.models.build import build_fused, build_generator, build_vgg, use_layout
from i2s_batch.models.checkpoints import read_generator, read_vgg, write_safetensors
from i2s_batch.models.generator import Generator
from i2s_batch.models.random_weights import random_generator, untrained
from i2s_batch.models.vgg import VGG16, random_vgg
from i2s_batch.models.weights import GeneratorWeights, VGGWeights

__all__ = [
    "VGG16",
    "Generator",
    "GeneratorWeights",
    "VGGWeights",
    "build_fused",
    "build_generator",
    "build_vgg",
    "random_generator",
    "random_vgg",
    "read_generator",
    "read_vgg",
    "untrained",
    "use_layout",
    "write_safetensors",
]
