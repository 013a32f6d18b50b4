"""Which variables a StyleGAN3 generator has besides its mapping, and how the sizes of its layers follow.

C_0 = channels of the Fourier features, C_i = channels after layer i-1; the last layer makes the colours:

    input.freqs [C_0, 2]  input.phases [C_0]  input.transform [3, 3]  input.weight [C_0, C_0]
    input.style.weight [4, w]  input.style.bias [4]
    layer.{i}.weight [C_(i+1), C_i, k, k]  .bias [C_(i+1)]  .magnitude []  .style.weight [C_i, w]  .style.bias [C_i]
    layer.{i}.up_filter [n]  .down_filter [n], or [n, n] where radial          not in the last

Settings: `input_size` pixels at `sampling_rate` an image width, `bandwidth` in periods an image width, `output_scale`,
`conv_clamp`, and `layers`, for each layer: `kernel` k, `up`, `down` (factors), `up_taps`, `down_taps` (n), `radial`,
`padding` [left, right, above, below] of the zero-inserted image.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from i2s_batch.errors import CheckpointError

Shape = tuple[int, ...]

_KERNELS = (1, 3)
_MOST_LAYERS = 64
_MOST_TAPS = 128
_MOST_PIXELS = 16_384
# Ranges of a layer's numbers.
_LIMITS = {"up": (1, 8), "down": (1, 8), "up_taps": (1, _MOST_TAPS), "down_taps": (1, _MOST_TAPS)}
_KEYS = {*_LIMITS, "kernel", "radial", "padding"}
_TO_RGB = {"kernel": 1, "up": 1, "down": 1, "up_taps": 1, "down_taps": 1, "radial": False, "padding": [0, 0, 0, 0]}


def good_layers(layers: object) -> bool:
    """Whether `layers` is a list of complete layers, of which only the last makes colours."""
    if not isinstance(layers, list) or not 2 <= len(layers) <= _MOST_LAYERS or layers[-1] != _TO_RGB:
        return False
    return all(_good_layer(layer) for layer in layers[:-1])


def _good_layer(layer: object) -> bool:
    if not isinstance(layer, dict) or set(layer) != _KEYS:
        return False
    padding = layer["padding"]
    return (
        layer["kernel"] in _KERNELS
        and isinstance(layer["radial"], bool)
        and isinstance(padding, list)
        and len(padding) == 4
        and all(type(n) is int and abs(n) < _MOST_PIXELS for n in padding)
        and all(type(layer[key]) is int and low <= layer[key] <= high for key, (low, high) in _LIMITS.items())
    )


def check_sizes(settings: Mapping[str, Any]) -> None:
    """Raise CheckpointError unless the layers, one after the other, turn the input into a picture."""
    width = height = settings["input_size"]
    for i, layer in enumerate(settings["layers"]):
        left, right, above, below = layer["padding"]
        width, height = (_after(layer, n, more) for n, more in ((width, left + right), (height, above + below)))
        if not (0 < width <= _MOST_PIXELS and 0 < height <= _MOST_PIXELS):
            raise CheckpointError(f"its layer {i} would have {width} x {height} pixels")
    if (width, height) != (settings["resolution"],) * 2:
        raise CheckpointError(f"its layers make {width} x {height} pixels, not the resolution {settings['resolution']}")


def _after(layer: Mapping[str, Any], pixels: int, padding: int) -> int:
    """Pixels of one axis after a layer that pads the zero-inserted image by `padding` in all."""
    high_rate = (pixels + layer["kernel"] - 1) * layer["up"] + padding - layer["up_taps"] + 1
    return (high_rate - layer["down_taps"]) // layer["down"] + 1


def stylegan3_shapes(settings: Mapping[str, Any], w_dim: int, channels: Sequence[int]) -> dict[str, Shape]:
    """The variables that are not in the mapping; raises CheckpointError where the sizes contradict each other."""
    check_sizes(settings)
    first = channels[0]
    shapes: dict[str, Shape] = {
        "input.freqs": (first, 2),
        "input.phases": (first,),
        "input.transform": (3, 3),
        "input.weight": (first, first),
        "input.style.weight": (4, w_dim),
        "input.style.bias": (4,),
    }
    last = len(settings["layers"]) - 1
    for i, layer in enumerate(settings["layers"]):
        before, after = channels[i], 3 if i == last else channels[i + 1]
        shapes[f"layer.{i}.weight"] = (after, before, layer["kernel"], layer["kernel"])
        shapes[f"layer.{i}.bias"] = (after,)
        shapes[f"layer.{i}.magnitude"] = ()
        shapes[f"layer.{i}.style.weight"] = (before, w_dim)
        shapes[f"layer.{i}.style.bias"] = (before,)
        if i < last:
            shapes[f"layer.{i}.up_filter"] = (layer["up_taps"],)
            shapes[f"layer.{i}.down_filter"] = (layer["down_taps"],) * (1 + layer["radial"])
    return shapes
