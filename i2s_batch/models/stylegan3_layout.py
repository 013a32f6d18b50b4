"""This module lists the variables of a StyleGAN3 besides its mapping, and how the sizes of its layers follow.

C_0 = channels of the Fourier features, C_i = channels after layer i-1; the last layer makes the colours:

    input.freqs [C_0, 2]  input.phases [C_0]  input.transform [3, 3]  input.weight [C_0, C_0]
    input.style.weight [4, w]  input.style.bias [4]
    layer.{i}.weight [C_(i+1), C_i, k, k]  .bias [C_(i+1)]  .magnitude []  .style.weight [C_i, w]  .style.bias [C_i]
    layer.{i}.up_filter [n]  .down_filter [n], or [n, n] where radial          not in the last
"""

from __future__ import annotations

from collections.abc import Sequence

from i2s_batch.errors import CheckpointError
from i2s_batch.models.network_settings import MAX_PIXELS, AliasFreeLayer, StyleGAN3Settings

Shape = tuple[int, ...]


def check_sizes(settings: StyleGAN3Settings) -> None:
    """Raise CheckpointError unless the layers, one after the other, turn the input into an image."""
    width = height = settings.input_size
    for i, layer in enumerate(settings.layers):
        left, right, above, below = layer.padding
        width, height = (_after(layer, n, more) for n, more in ((width, left + right), (height, above + below)))
        if not (0 < width <= MAX_PIXELS and 0 < height <= MAX_PIXELS):
            raise CheckpointError(f"its layer {i} would have {width} x {height} pixels")
    if (width, height) != (settings.resolution,) * 2:
        raise CheckpointError(f"its layers make {width} x {height} pixels, not the resolution {settings.resolution}")


def input_sizes(settings: StyleGAN3Settings) -> list[int]:
    """Return the width in pixels, margins included, of what each layer takes."""
    sizes = [settings.input_size]
    for layer in settings.layers[:-1]:
        sizes.append(_after(layer, sizes[-1], layer.padding[0] + layer.padding[1]))
    return sizes


def _after(layer: AliasFreeLayer, pixels: int, padding: int) -> int:
    """Return the pixels of one axis after a layer that pads the zero-inserted image by `padding` in all."""
    high_rate = (pixels + layer.kernel - 1) * layer.up + padding - layer.up_taps + 1
    return (high_rate - layer.down_taps) // layer.down + 1


def stylegan3_shapes(settings: StyleGAN3Settings, w_dim: int, channels: Sequence[int]) -> dict[str, Shape]:
    """Return the variables that are not in the mapping; CheckpointError where the sizes contradict each other."""
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
    last = len(settings.layers) - 1
    for i, layer in enumerate(settings.layers):
        before, after = channels[i], 3 if i == last else channels[i + 1]
        shapes[f"layer.{i}.weight"] = (after, before, layer.kernel, layer.kernel)
        shapes[f"layer.{i}.bias"] = (after,)
        shapes[f"layer.{i}.magnitude"] = ()
        shapes[f"layer.{i}.style.weight"] = (before, w_dim)
        shapes[f"layer.{i}.style.bias"] = (before,)
        if i < last:
            shapes[f"layer.{i}.up_filter"] = (layer.up_taps,)
            shapes[f"layer.{i}.down_filter"] = (layer.down_taps,) * (1 + layer.radial)
    return shapes
