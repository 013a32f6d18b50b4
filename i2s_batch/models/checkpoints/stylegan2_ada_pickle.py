"""This module reads StyleGAN2 as the StyleGAN2-ADA programs (PyTorch) have it, pickled or as a state dict.

The sources of classes in a pickle are ignored.
"""

from __future__ import annotations

import re

import numpy as np

from i2s_batch.config import Json
from i2s_batch.errors import CheckpointError
from i2s_batch.models.checkpoints.checkpoint_file import network_format
from i2s_batch.models.checkpoints.stored_arrays import StoredArray
from i2s_batch.models.checkpoints.torch_modules import (
    Modules,
    attribute_of,
    check_attributes,
    classes_of,
    mapping_attributes,
    mapping_table,
    modules_of,
    variables_of,
)
from i2s_batch.models.checkpoints.variables import Stored, assemble, count_of, refuse_unknown
from i2s_batch.models.checkpoints.wrappers import Network, first_network
from i2s_batch.models.network_layout import layer_resolution
from i2s_batch.models.network_settings import STYLEGAN2, StyleGAN2Settings, num_layers, settings_of
from i2s_batch.models.weights import GeneratorWeights

_RESAMPLE = np.outer((1, 3, 3, 1), (1, 3, 3, 1)) / 64
_NO_WEIGHT = r".*\.resample_filter"


def read_stylegan2_ada(network: Network) -> GeneratorWeights:
    """Return the generator in a network; raises CheckpointError for a variant that is not supported."""
    modules = modules_of(network)
    blocks = [int(m[1]) for m in (re.fullmatch(r"synthesis\.b(\d{1,5})", name) for name in modules) if m]
    found = variables_of(modules)
    resolution = max(blocks, default=0)
    stored: dict[str, Json] = {
        "resolution": resolution,
        "c_dim": classes_of(found),
        "mapping_layers": count_of(r"mapping\.fcN", modules),
        "demodulation": "raw",
    }
    stored |= _attributes(modules, resolution) if network.module else _assumed(found, resolution)
    settings = StyleGAN2Settings.of(settings_of(STYLEGAN2, stored))
    if network.module:
        _check_modules(modules, settings)
    _check_filters(found)
    noiseless = network.module is None and not any(name.endswith(".noise_strength") for name in found)
    table = _table(settings, modules, noiseless)
    refuse_unknown(found, table, _NO_WEIGHT)
    return assemble(settings, table, found, _origin(network))


def _attributes(modules: Modules, resolution: int) -> dict[str, Json]:
    """Return the settings that pickled modules have as attributes."""
    return {
        "mapping_lr_multiplier": attribute_of(modules, "mapping.fc0", "bias_gain"),
        "architecture": attribute_of(modules, f"synthesis.b{resolution}", "architecture"),
        "conv_clamp": attribute_of(modules, f"synthesis.b{resolution}.conv1", "conv_clamp"),
    }


def _assumed(found: dict[str, StoredArray], resolution: int) -> dict[str, Json]:
    """Return the settings that a state dict does not hold: its names show the architecture, the others are defaults.

    The program clamps layers at 256 where it computes them in float16, which would overflow. Here they are computed in
    float32 or bfloat16, which do not, and no clamping is assumed.
    """
    skip, resnet = "synthesis.b4.torgb.weight" in found, f"synthesis.b{resolution}.skip.weight" in found
    architecture = "skip" if skip else "resnet" if resnet else "orig"
    return {"mapping_lr_multiplier": 0.01, "architecture": architecture, "conv_clamp": None}


def _origin(network: Network) -> str:
    if network.path == ("G_ema",):
        return "official StyleGAN2-ADA pickle"
    assumed = "" if network.module else ", no settings stored: no clamping, mapping rate 0.01"
    return f"StyleGAN2-ADA network ({network.wrapper})" + assumed


def _check_modules(modules: Modules, settings: StyleGAN2Settings) -> None:
    """Refuse attributes that make another network than the one that is built from `settings`."""
    expected: dict[str, dict[str, Json]] = {
        r"synthesis\.b\d+": {"architecture": settings.architecture},
        r"synthesis\.b\d+\.conv1": {"activation": "lrelu", "conv_clamp": settings.conv_clamp, "up": 1},
        r"synthesis\.b\d+\.conv0": {"activation": "lrelu", "conv_clamp": settings.conv_clamp, "up": 2},
        r"synthesis\.b\d+\.torgb": {"conv_clamp": settings.conv_clamp},
    }
    check_attributes(modules, expected | mapping_attributes(settings))


def _check_filters(found: dict[str, StoredArray]) -> None:
    for name, stored in found.items():
        if name.endswith(".resample_filter") and (
            stored.shape != _RESAMPLE.shape or not np.allclose(stored.read(), _RESAMPLE, rtol=0, atol=1e-6)
        ):
            raise CheckpointError(f"the filter {name} is not [1, 3, 3, 1]; not supported")


def _table(settings: StyleGAN2Settings, modules: Modules, noiseless: bool) -> dict[str, Stored]:
    table = mapping_table(settings) | {"const": Stored("synthesis.b4.const")}
    for i in range(1, num_layers(settings.resolution)):
        r = layer_resolution(i)
        path = f"synthesis.b{r}.conv{i % 2}"
        silent = attribute_of(modules, path, "use_noise") is False or noiseless
        table[f"layer.{i}.weight"] = Stored(f"{path}.weight")
        table[f"layer.{i}.bias"] = Stored(f"{path}.bias")
        table[f"layer.{i}.noise"] = Stored(f"{path}.noise_const", zero_if_missing=silent)
        table[f"layer.{i}.noise_strength"] = Stored(f"{path}.noise_strength", zero_if_missing=silent)
        table[f"layer.{i}.style.weight"] = Stored(f"{path}.affine.weight")
        table[f"layer.{i}.style.bias"] = Stored(f"{path}.affine.bias")
        if i % 2 and settings.architecture == "resnet" and i > 1:
            table[f"skip.{r}.weight"] = Stored(f"synthesis.b{r}.skip.weight", (0, 1, None, None))
    for r in settings.rgb_resolutions:
        path = f"synthesis.b{r}.torgb"
        table[f"to_rgb.{r}.weight"] = Stored(f"{path}.weight", (0, 1, None, None))
        table[f"to_rgb.{r}.bias"] = Stored(f"{path}.bias")
        table[f"to_rgb.{r}.style.weight"] = Stored(f"{path}.affine.weight")
        table[f"to_rgb.{r}.style.bias"] = Stored(f"{path}.affine.bias")
    return table


FORMAT = network_format(lambda file: first_network(file.networks, "mapping", "synthesis.b4"), read_stylegan2_ada)
