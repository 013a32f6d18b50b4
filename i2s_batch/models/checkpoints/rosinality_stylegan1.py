"""This module reads StyleGAN1 as rosinality's program has it: a state dict, or a file of a training (g_running).

The program differs from NVIDIA's, but each difference can be moved into the variables, so that our network computes the
same function:

- Gains: sqrt(2 / inputs) everywhere, in the styles, colours and noise strengths too, and a mapping without 0.01.
- A style is used as it is, not with + 1, and one of a resolution is used by both of its layers. Our layers take a
  latent each; the same one in both is the program's.
- The norm adds 1e-5 to the variance where ours adds 1e-8. Ours does the same if all before it is sqrt(1e-3) times as
  large: the leaky ReLU is homogeneous, and the norm divides the factor out again.
- An upsampling layer adds its bias before the blur, which takes zeros beyond the border. Within the border that is the
  same as after it; at the border a share of the bias is missing. Share times bias is what a layer adds as its noise
  times the strength of a channel. The file stores no noise, so that the noise input is free for it.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Mapping
from dataclasses import replace

import numpy as np

from i2s_batch.config import Json
from i2s_batch.errors import CheckpointError
from i2s_batch.models.checkpoints.checkpoint_file import network_format
from i2s_batch.models.checkpoints.rosinality import with_mean
from i2s_batch.models.checkpoints.stored_arrays import StoredArray
from i2s_batch.models.checkpoints.torch_modules import tensors_in
from i2s_batch.models.checkpoints.variables import Stored, Table, count_of, refuse_unknown
from i2s_batch.models.checkpoints.wrappers import Network, first_network
from i2s_batch.models.network_layout import layer_resolution
from i2s_batch.models.network_settings import STYLEGAN1, StyleGAN1Settings, num_layers, settings_of
from i2s_batch.models.weights import GeneratorWeights

_BLOCK = "generator.progression"
_SQRT2 = math.sqrt(2)
_NORM = math.sqrt(1e-8 / 1e-5)
_BLUR = np.outer((1, 2, 1), (1, 2, 1)) / 16
_BLUR_NAME = r"generator\.progression\.\d+\.conv1\.[12]\.weight(_flip)?"
_NOWHERE = Stored("(not stored)", zero_if_missing=True)


def read_rosinality_stylegan1(network: Network) -> GeneratorWeights:
    """Return the generator in a network, at the highest resolution that has been trained.

    The noise is zero, its expected value, as none is stored, and the mean of w is computed. Raises CheckpointError for
    what is not whole, and for files of the program's first version, which upsamples otherwise.
    """
    found = tensors_in(network)
    if f"{_BLOCK}.1.conv1.conv.weight_orig" in found:
        raise CheckpointError("this rosinality StyleGAN1 is of the program's first version (bilinear); not supported")
    blocks = _trained_blocks(found)
    stored: dict[str, Json] = {
        "resolution": 2 << blocks,
        "c_dim": 0,
        "mapping_layers": count_of(r"style\.N\.linear\.weight_orig", found) // 2,  # with a leaky ReLU after each
        "mapping_lr_multiplier": 1,
    }
    settings = StyleGAN1Settings.of(settings_of(STYLEGAN1, stored))
    _check_blurs(found)
    table = _table(settings, found)
    higher = "|".join(map(str, range(blocks, 100)))
    needless = rf"{_BLUR_NAME}|generator\.progression\.({higher})\..*|generator\.to_rgb\.\d+\.conv\.(weight_orig|bias)"
    refuse_unknown(found, table, needless)
    origin = f"rosinality StyleGAN1 file ({network.wrapper}), no stored noise: zero noise"
    return _as_official(with_mean(settings, table, found, origin), table)


def _as_official(weights: GeneratorWeights, table: Table) -> GeneratorWeights:
    """Return variables with which NVIDIA's network computes what rosinality's does with these."""
    tensors = dict(weights.tensors)
    for name, factor in (("const", _NORM), ("to_rgb.weight", _SQRT2)):
        tensors[name] = _rounded(tensors[name].astype(np.float64) * factor)
    for i in range(num_layers(weights.settings.resolution)):
        fused = table[f"layer.{i}.weight"].flipped if i else False
        tensors |= {f"layer.{i}.{part}": value for part, value in _ours(weights.part(f"layer.{i}."), i, fused)}
    return replace(weights, tensors=tensors)


def _trained_blocks(found: Mapping[str, StoredArray]) -> int:
    """Return how many blocks there are up to the highest trained one: biases and noise strengths begin as 0."""
    count = count_of(r"generator\.progression\.N\.conv2\.conv\.bias", found)
    parts = ("conv2.conv.bias", "noise1.weight_orig", "noise2.weight_orig")
    for k in range(count - 1, 0, -1):
        values = (found.get(f"{_BLOCK}.{k}.{part}") for part in parts)
        if any(value is not None and value.read().any() for value in values):
            return k + 1
    return count


def _check_blurs(found: Mapping[str, StoredArray]) -> None:
    for name, stored in found.items():
        if re.fullmatch(_BLUR_NAME, name) and (
            stored.shape[1:] != (1, 3, 3) or not np.allclose(stored.read(), _BLUR, rtol=0, atol=1e-6)
        ):
            raise CheckpointError(f"the filter {name} is not [1, 2, 1]; not supported")


def _table(settings: StyleGAN1Settings, found: Mapping[str, StoredArray]) -> Table:
    last = f"generator.to_rgb.{num_layers(settings.resolution) // 2 - 1}.conv"
    table = {
        "const": Stored(f"{_BLOCK}.0.conv1.input", (None, 0, 1, 2)),
        "to_rgb.weight": Stored(f"{last}.weight_orig", (0, 1, None, None)),
        "to_rgb.bias": Stored(f"{last}.bias"),
    }
    for j in range(settings.mapping_layers):
        table[f"mapping.{j}.weight"] = Stored(f"style.{2 * j + 1}.linear.weight_orig")
        table[f"mapping.{j}.bias"] = Stored(f"style.{2 * j + 1}.linear.bias")
    for i in range(num_layers(settings.resolution)):
        block, half = f"{_BLOCK}.{i // 2}", i % 2 + 1
        table |= _convolution(i, block, f"{block}.conv1.0.weight" in found) if i else {"layer.0.bias": _NOWHERE}
        table[f"layer.{i}.noise"] = _NOWHERE
        table[f"layer.{i}.noise_strength"] = Stored(f"{block}.noise{half}.weight_orig", (None, 0, None, None))
        for part, theirs in (("weight", "weight_orig"), ("bias", "bias")):
            table[f"layer.{i}.style.{part}"] = Stored(f"{block}.adain{half}.style.linear.{theirs}")
    return table


def _convolution(layer: int, block: str, fused: bool) -> Table:
    """Return where the convolution of a layer is; a fused one has its axes and its kernel turned round."""
    if layer % 2 == 0 and fused:
        weight, bias = Stored(f"{block}.conv1.0.weight", (1, 0, 2, 3), flipped=True), f"{block}.conv1.0.bias"
    else:
        path = f"{block}.conv2.conv" if layer % 2 else f"{block}.conv1.1.conv"
        weight, bias = Stored(f"{path}.weight_orig"), f"{path}.bias"
    return {f"layer.{layer}.weight": weight, f"layer.{layer}.bias": Stored(bias)}


def _ours(layer: dict[str, np.ndarray], index: int, fused: bool) -> Iterator[tuple[str, np.ndarray]]:
    """Give the variables of a layer with which our network computes the same."""
    layer = {name: value.astype(np.float64) for name, value in layer.items()}  # so that each value is rounded once
    channels = len(layer["bias"])
    upsampling = index > 0 and index % 2 == 0
    strength = layer["bias"] if upsampling else layer["noise_strength"] * math.sqrt(2 / channels)
    style_bias = layer["style.bias"].copy()
    style_bias[:channels] -= 1
    values = {
        "bias": layer["bias"] * _NORM,
        "noise_strength": strength * _NORM,
        "style.weight": layer["style.weight"] * _SQRT2,
        "style.bias": style_bias,
    }
    if index:
        # The program's fused upsampling takes the mean of the four shifts of its kernel, and ours their sum.
        values["weight"] = layer["weight"] * (_NORM / 4 if fused else _NORM)
    if upsampling:
        values["noise"] = _missing_at_border(layer_resolution(index))
    yield from ((name, _rounded(value)) for name, value in values.items())


def _rounded(value: np.ndarray) -> np.ndarray:
    return np.array(value, np.float32, order="C")


def _missing_at_border(size: int) -> np.ndarray:
    """Return, for each pixel, minus the share of a constant that a blur with zeros around loses: 0 in the inside."""
    line = np.ones(size)
    line[[0, -1]] = 0.75
    return np.outer(line, line) - 1


FORMAT = network_format(
    lambda file: first_network(file.networks, "generator.progression", "generator.to_rgb", "style"),
    read_rosinality_stylegan1,
)
