"""This module is the registry of checkpoint formats; it needs the standard library only.

A new format is one file with a `CheckpointFormat` (see `checkpoint_file`) and one line here (or, from another program,
a call of `FORMATS.add`). Reading and inspecting both ask these, in this order, which of them recognises a file.

A format is the names and axes of a network's variables. What they are wrapped in (a pickled module, a state dict, keys
and prefixes) is taken off before, in `wrappers`: see `checkpoint_file.network_format`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from i2s_batch.registry import Declaration, Registry

GENERATOR = "generator"
VGG = "vgg"


@dataclass(frozen=True)
class FormatDeclaration(Declaration[Any]):
    """Declares a format of checkpoints; its target is a `CheckpointFormat`.

    Args:
        network: The network that a file of this format holds, `GENERATOR` or `VGG`.
        label: What `inspect` calls the format; {origin} stands for that of the weights.
    """

    network: str = GENERATOR
    label: str = "{origin}"


_HERE = "i2s_batch.models.checkpoints"

FORMATS = Registry(
    "checkpoint format",
    [
        FormatDeclaration("stylegan1", "NVIDIA's StyleGAN1 (TensorFlow).", f"{_HERE}.stylegan1_pickle:FORMAT"),
        FormatDeclaration("stylegan2", "NVIDIA's StyleGAN2 (TensorFlow).", f"{_HERE}.stylegan2_pickle:FORMAT"),
        FormatDeclaration(
            "stylegan2-growing",
            "NVIDIA's StyleGAN2 with progressive growing, configurations B to D (TensorFlow).",
            f"{_HERE}.stylegan2_growing_pickle:FORMAT",
        ),
        FormatDeclaration(
            "stylegan2-ada-tensorflow",
            "NVIDIA's StyleGAN2-ADA (TensorFlow).",
            f"{_HERE}.stylegan2_ada_tensorflow:FORMAT",
        ),
        FormatDeclaration("stylegan3", "NVIDIA's StyleGAN3 (PyTorch).", f"{_HERE}.stylegan3_pickle:FORMAT"),
        FormatDeclaration("stylegan2-ada", "NVIDIA's StyleGAN2-ADA (PyTorch).", f"{_HERE}.stylegan2_ada_pickle:FORMAT"),
        FormatDeclaration("vgg16", "A VGG-16 state dict of torchvision.", f"{_HERE}.vgg_file:STATE_DICT", VGG),
        FormatDeclaration("rosinality", "A StyleGAN2 of the rosinality programs.", f"{_HERE}.rosinality:FORMAT"),
        FormatDeclaration(
            "rosinality-stylegan1", "A StyleGAN1 of rosinality's program.", f"{_HERE}.rosinality_stylegan1:FORMAT"
        ),
        FormatDeclaration("basicsr", "A StyleGAN2 of BasicSR's program.", f"{_HERE}.basicsr:FORMAT"),
        FormatDeclaration(
            "i2s-batch",
            "A generator written by convert.",
            f"{_HERE}.converted_file:GENERATOR_FORMAT",
            label="i2s-batch safetensors, made from: {origin}",
        ),
        FormatDeclaration(
            "i2s-batch-vgg16",
            "A VGG-16 written by write_safetensors.",
            f"{_HERE}.converted_file:VGG_FORMAT",
            VGG,
            label="i2s-batch safetensors, made from: {origin}",
        ),
        FormatDeclaration("vgg16-safetensors", "A VGG-16 in safetensors.", f"{_HERE}.vgg_file:SAFETENSORS", VGG),
    ],
)
