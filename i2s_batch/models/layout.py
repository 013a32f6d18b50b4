"""Which variables a generator has, under our names, and their shapes.

Names and shapes, of StyleGAN3 only what all have in common: the rest is in `layout3`
(layer i works at resolution 4 * 2^(i // 2) and doubles it first when i is even and above 0;
C_i = channels after layer i, C_0 those of the constant; I = C_(i-1)):

    w_avg [w]  const [C_0, 4, 4]  mapping.{j}.weight [out, in]  mapping.{j}.bias [out]
    label.weight [e, classes]  label.bias [e]                        only if conditional; no bias if joint
    layer.{i}.weight [C_i, I, 3, 3]  .bias [C_i]  .noise [r, r]       StyleGAN1: i >= 0 (no weight at 0); 2: i >= 1
    StyleGAN1: .noise_strength [C_i]  .style.weight [2 C_i, w]  .style.bias [2 C_i]
               to_rgb.weight [3, C]  to_rgb.bias [3]
    StyleGAN2: .noise_strength []  .style.weight [I, w]  .style.bias [I]
               to_rgb.{r}.weight [3, C]  .bias [3]  .style.weight [C, w]  .style.bias [C]
               skip.{r}.weight [C, C of r/2]                        only if resnet

Values are as trained; the run-time gains belong to the modules. Upsampling kernels: StyleGAN1 correlates the
nearest-upsampled image with them, StyleGAN2 uses them in a transposed convolution.

Settings that a StyleGAN2 may have (those of the TensorFlow program): `style_offset`, a number added to every style,
and `label_normalization` "joint": z and the embedded label are normalised together, not each alone.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from i2s_batch.errors import CheckpointError
from i2s_batch.models.layout3 import Shape, good_layers, stylegan3_shapes
from i2s_batch.models.weights import GeneratorWeights, num_layers

STYLEGAN1 = "stylegan1"
STYLEGAN2 = "stylegan2"
STYLEGAN3 = "stylegan3"
ARCHITECTURES = ("skip", "resnet", "orig")
# Where the demodulation's 1e-8 is added: to the sum over the raw weight, or over the weight / sqrt(fan_in).
DEMODULATIONS = ("raw", "scaled")
MAX_RESOLUTION = 4096
# StyleGAN2 settings that may be left out, with what they may be; without them 0 and "separate".
_OPTIONAL: Mapping[str, tuple[Any, ...]] = {"style_offset": (0, 1), "label_normalization": ("joint", "separate")}

# The length of an axis of a variable; raises CheckpointError where the variable is missing or has no such axis.
Size = Callable[[str, int], int]


@dataclass(frozen=True)
class Widths:
    """The sizes that fix every shape. `mapping`: outputs of each layer; `channels`: C_0, C_1, .. (L of them)."""

    z: int
    w: int
    label: int
    mapping: tuple[int, ...]
    channels: tuple[int, ...]


def layer_resolution(layer: int) -> int:
    """Output resolution of a layer, pixels."""
    return 4 << (layer // 2)


def resolutions(resolution: int) -> list[int]:
    """4, 8, .. up to and with `resolution`."""
    return [1 << k for k in range(2, resolution.bit_length())]


def rgb_resolutions(settings: Mapping[str, Any]) -> list[int]:
    """Where a StyleGAN2 makes colours: everywhere with skip, else at the last resolution only."""
    every = resolutions(settings["resolution"])
    return every if settings["architecture"] == "skip" else every[-1:]


def joint_labels(family: str, settings: Mapping[str, Any]) -> bool:
    """Whether z and the embedded label are normalised together, the embedding being a plain matrix."""
    return family == STYLEGAN1 or settings.get("label_normalization") == "joint"


def check_settings(family: str, settings: Mapping[str, Any]) -> None:
    """Raise CheckpointError unless `settings` are complete and in range for `family`."""

    def whole(key: str, low: int, high: int) -> bool:
        return type(settings.get(key)) is int and low <= settings[key] <= high

    def positive(value: object) -> bool:
        return isinstance(value, int | float) and not isinstance(value, bool) and 0 < value < math.inf

    checks = {
        "resolution": whole("resolution", 8, MAX_RESOLUTION) and settings["resolution"].bit_count() == 1,
        "c_dim": whole("c_dim", 0, 1_000_000),
        "mapping_layers": whole("mapping_layers", 1, 64),
        "mapping_lr_multiplier": positive(settings.get("mapping_lr_multiplier")),
    }
    if family == STYLEGAN2:
        clamp = settings.get("conv_clamp", 0)
        checks["architecture"] = settings.get("architecture") in ARCHITECTURES
        checks["demodulation"] = settings.get("demodulation") in DEMODULATIONS
        checks["conv_clamp"] = clamp is None or positive(clamp)
        checks |= {key: settings[key] in allowed for key, allowed in _OPTIONAL.items() if key in settings}
    elif family == STYLEGAN3:
        clamp = settings.get("conv_clamp", 0)
        checks["conv_clamp"] = clamp is None or positive(clamp)
        checks["input_size"] = whole("input_size", 1, MAX_RESOLUTION)
        checks |= {key: positive(settings.get(key)) for key in ("sampling_rate", "bandwidth", "output_scale")}
        checks["layers"] = good_layers(settings.get("layers"))
    elif family != STYLEGAN1:
        raise CheckpointError(f"the family {family[:40]!r} is unknown; known: {STYLEGAN1}, {STYLEGAN2}, {STYLEGAN3}")
    for key, good in checks.items():
        if not good:
            raise CheckpointError(f"the setting {key} is missing or out of range for a {family} generator")
    if unknown := sorted(set(settings) - set(checks)):
        raise CheckpointError(f"the setting {unknown[0][:40]!r} is unknown for a {family} generator")


def widths_of(settings: Mapping[str, Any], size: Size) -> Widths:
    """The widths, from the shapes of a few variables."""
    label = size("label.weight", 0) if settings["c_dim"] else 0
    if "layers" in settings:
        channels = ("input.weight", *(f"layer.{i}.weight" for i in range(len(settings["layers"]))))
    else:
        channels = ("const", *(f"layer.{i}.weight" for i in range(1, num_layers(settings["resolution"]))))
    return Widths(
        z=size("mapping.0.weight", 1) - label,
        w=size("w_avg", 0),
        label=label,
        mapping=tuple(size(f"mapping.{j}.weight", 0) for j in range(settings["mapping_layers"])),
        channels=tuple(size(name, 0) for name in channels),
    )


def shapes_of(family: str, settings: Mapping[str, Any], widths: Widths) -> dict[str, Shape]:
    """Every variable of a generator, with its shape. Raises CheckpointError where widths contradict each other."""
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
    if settings["c_dim"]:
        shapes["label.weight"] = (widths.label, settings["c_dim"])
        if not joint_labels(family, settings):
            shapes["label.bias"] = (widths.label,)
    if family == STYLEGAN3:
        return shapes | stylegan3_shapes(settings, widths.w, widths.channels)
    shapes["const"] = (widths.channels[0], 4, 4)
    if family == STYLEGAN1:
        return shapes | _stylegan1_shapes(widths)
    return shapes | _stylegan2_shapes(settings, widths)


def _stylegan1_shapes(widths: Widths) -> dict[str, Shape]:
    shapes: dict[str, Shape] = {}
    for i, channels in enumerate(widths.channels):
        if i:
            shapes[f"layer.{i}.weight"] = (channels, widths.channels[i - 1], 3, 3)
        shapes[f"layer.{i}.bias"] = shapes[f"layer.{i}.noise_strength"] = (channels,)
        shapes[f"layer.{i}.noise"] = (layer_resolution(i),) * 2
        shapes[f"layer.{i}.style.weight"] = (2 * channels, widths.w)
        shapes[f"layer.{i}.style.bias"] = (2 * channels,)
    return shapes | {"to_rgb.weight": (3, widths.channels[-1]), "to_rgb.bias": (3,)}


def _stylegan2_shapes(settings: Mapping[str, Any], widths: Widths) -> dict[str, Shape]:
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
        if i % 2 and settings["architecture"] == "resnet" and i > 1:
            shapes[f"skip.{r}.weight"] = (after, widths.channels[i - 2])
        if i % 2 and r in rgb_resolutions(settings):
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
    """The widths of a generator; raises CheckpointError unless it has exactly the variables of its family."""
    tensors: dict[str, np.ndarray] = weights.tensors

    def size(name: str, axis: int) -> int:
        if name not in tensors or tensors[name].ndim <= axis:
            raise CheckpointError(f"the variable {name} is missing, or has no axis {axis}")
        return tensors[name].shape[axis]

    check_settings(weights.family, weights.settings)
    widths = widths_of(weights.settings, size)
    expected = shapes_of(weights.family, weights.settings, widths)
    for name, shape in expected.items():
        check_shape(name, tensors[name].shape if name in tensors else None, shape)
        if tensors[name].dtype != np.float32:
            raise CheckpointError(f"the variable {name} is {tensors[name].dtype}; float32 is needed")
    if unknown := sorted(set(tensors) - set(expected)):
        raise CheckpointError(f"the variable {unknown[0][:80]!r} is unknown for a {weights.family} generator")
    return widths
