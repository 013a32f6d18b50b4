"""This module lists the variables of a generator, under our names, and their shapes.

Names and shapes, of StyleGAN3 only what all have in common: the rest is in `stylegan3_layout`
(layer i works at resolution 4 * 2^(i // 2) and doubles it first when i is even and above 0;
C_i = channels after layer i, C_0 those of the constant; I = C_(i-1)):

    w_avg [w]  const [C_0, 4, 4]  mapping.{j}.weight [out, in]  mapping.{j}.bias [out]
    label.weight [e, classes]  label.bias [e]                        only if conditional; no bias if joint
    layer.{i}.weight [C_i, I, 3, 3]  .bias [C_i]  .noise [r, r]       StyleGAN1: i >= 0 (no weight at 0); 2: i >= 1
    StyleGAN1: .noise_strength [C_i]  .style.weight [2 C_i, w]  .style.bias [2 C_i]
               to_rgb.weight [3, C]  to_rgb.bias [3]
               fading.weight [3, C of r/2]  fading.bias [3]         only if fading; all four with their share in them
    StyleGAN2: .noise_strength []  .style.weight [I, w]  .style.bias [I]
               to_rgb.{r}.weight [3, C]  .bias [3]  .style.weight [C, w]  .style.bias [C]
               skip.{r}.weight [C, C of r/2]                        only if resnet

Values are as trained; the run-time gains belong to the modules. Upsampling kernels: StyleGAN1 correlates the
nearest-upsampled image with them, StyleGAN2 uses them in a transposed convolution.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from i2s_batch.errors import CheckpointError
from i2s_batch.models.network_settings import (
    GeneratorSettings,
    StyleGAN1Settings,
    StyleGAN2Settings,
    StyleGAN3Settings,
    check_settings,
    num_layers,
)
from i2s_batch.models.stylegan3_layout import Shape, stylegan3_shapes
from i2s_batch.models.weights import GeneratorWeights

# The length of an axis of a variable; raises CheckpointError where the variable is missing or has no such axis.
Size = Callable[[str, int], int]


@dataclass(frozen=True)
class Widths:
    """Holds the sizes that fix every shape. `mapping`: outputs of each layer; `channels`: C_0, C_1, .. (L of them)."""

    z: int
    w: int
    label: int
    mapping: tuple[int, ...]
    channels: tuple[int, ...]


def layer_resolution(layer: int) -> int:
    """Return the output resolution of a layer, pixels."""
    return 4 << (layer // 2)


def widths_of(settings: GeneratorSettings, size: Size) -> Widths:
    """Return the widths, from the shapes of a few variables."""
    label = size("label.weight", 0) if settings.c_dim else 0
    if isinstance(settings, StyleGAN3Settings):
        channels = ("input.weight", *(f"layer.{i}.weight" for i in range(len(settings.layers))))
    else:
        channels = ("const", *(f"layer.{i}.weight" for i in range(1, num_layers(settings.resolution))))
    return Widths(
        z=size("mapping.0.weight", 1) - label,
        w=size("w_avg", 0),
        label=label,
        mapping=tuple(size(f"mapping.{j}.weight", 0) for j in range(settings.mapping_layers)),
        channels=tuple(size(name, 0) for name in channels),
    )


def shapes_of(settings: GeneratorSettings, widths: Widths) -> dict[str, Shape]:
    """Return every variable of a generator with its shape; CheckpointError where widths contradict each other."""
    if min(widths.z, widths.w, *widths.channels, *widths.mapping) < 1 or widths.mapping[-1] != widths.w:
        raise CheckpointError(
            f"its widths do not fit together: z {widths.z}, mapping {list(widths.mapping)}, w {widths.w}, "
            f"channels {list(widths.channels)}"
        )
    shapes: dict[str, Shape] = {"w_avg": (widths.w,)}
    inputs = (widths.z + widths.label, *widths.mapping)
    for j, width in enumerate(widths.mapping):
        shapes[f"mapping.{j}.weight"] = (width, inputs[j])
        shapes[f"mapping.{j}.bias"] = (width,)
    if settings.c_dim:
        shapes["label.weight"] = (widths.label, settings.c_dim)
        if not settings.has_joint_labels:
            shapes["label.bias"] = (widths.label,)
    if isinstance(settings, StyleGAN3Settings):
        return shapes | stylegan3_shapes(settings, widths.w, widths.channels)
    shapes["const"] = (widths.channels[0], 4, 4)
    if isinstance(settings, StyleGAN2Settings):
        return shapes | _stylegan2_shapes(settings, widths)
    return shapes | _stylegan1_shapes(widths, isinstance(settings, StyleGAN1Settings) and bool(settings.fading))


def _stylegan1_shapes(widths: Widths, fading: bool) -> dict[str, Shape]:
    shapes: dict[str, Shape] = {}
    for i, channels in enumerate(widths.channels):
        if i:
            shapes[f"layer.{i}.weight"] = (channels, widths.channels[i - 1], 3, 3)
        shapes[f"layer.{i}.bias"] = shapes[f"layer.{i}.noise_strength"] = (channels,)
        shapes[f"layer.{i}.noise"] = (layer_resolution(i),) * 2
        shapes[f"layer.{i}.style.weight"] = (2 * channels, widths.w)
        shapes[f"layer.{i}.style.bias"] = (2 * channels,)
    if fading:
        shapes |= {"fading.weight": (3, widths.channels[-3]), "fading.bias": (3,)}
    return shapes | {"to_rgb.weight": (3, widths.channels[-1]), "to_rgb.bias": (3,)}


def _stylegan2_shapes(settings: StyleGAN2Settings, widths: Widths) -> dict[str, Shape]:
    shapes: dict[str, Shape] = {}
    for i in range(1, len(widths.channels)):
        before, after = widths.channels[i - 1 : i + 1]
        shapes[f"layer.{i}.weight"] = (after, before, 3, 3)
        shapes[f"layer.{i}.bias"] = (after,)
        shapes[f"layer.{i}.noise_strength"] = ()
        shapes[f"layer.{i}.noise"] = (layer_resolution(i),) * 2
        shapes[f"layer.{i}.style.weight"] = (before, widths.w)
        shapes[f"layer.{i}.style.bias"] = (before,)
        r = layer_resolution(i)
        if i % 2 and settings.architecture == "resnet" and i > 1:
            shapes[f"skip.{r}.weight"] = (after, widths.channels[i - 2])
        if i % 2 and r in settings.rgb_resolutions:
            shapes[f"to_rgb.{r}.weight"] = (3, after)
            shapes[f"to_rgb.{r}.bias"] = (3,)
            shapes[f"to_rgb.{r}.style.weight"] = (after, widths.w)
            shapes[f"to_rgb.{r}.style.bias"] = (after,)
    return shapes


def check_shape(name: str, found: Shape | None, expected: Shape) -> None:
    """Raise CheckpointError, naming the variable and both shapes, unless they agree."""
    if found is None:
        raise CheckpointError(f"the variable {name} {list(expected)} is missing")
    if found != expected:
        raise CheckpointError(f"the variable {name} has the shape {list(found)}; {list(expected)} is needed")


def check_weights(weights: GeneratorWeights) -> Widths:
    """Return the widths of a generator; raises CheckpointError unless it has exactly the variables of its family."""
    tensors: dict[str, np.ndarray] = weights.tensors

    def size(name: str, axis: int) -> int:
        if name not in tensors or tensors[name].ndim <= axis:
            raise CheckpointError(f"the variable {name} is missing, or has no axis {axis}")
        length: int = tensors[name].shape[axis]
        return length

    check_settings(weights.settings)
    widths = widths_of(weights.settings, size)
    expected = shapes_of(weights.settings, widths)
    for name, shape in expected.items():
        check_shape(name, tensors[name].shape if name in tensors else None, shape)
        if tensors[name].dtype != np.float32:
            raise CheckpointError(f"the variable {name} is {tensors[name].dtype}; float32 is needed")
    if unknown := sorted(set(tensors) - set(expected)):
        raise CheckpointError(f"the variable {unknown[0][:80]!r} is unknown for a {weights.family} generator")
    return widths
