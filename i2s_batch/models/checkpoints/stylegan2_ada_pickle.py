"""This module reads StyleGAN2 from `G_ema` in the official StyleGAN2-ADA (PyTorch) pickle, ignoring class sources."""

from __future__ import annotations

import re

import numpy as np

from i2s_batch.config import Json
from i2s_batch.errors import CheckpointError
from i2s_batch.models.checkpoints.checkpoint_file import CheckpointFile, CheckpointFormat
from i2s_batch.models.checkpoints.stored_arrays import StoredArray
from i2s_batch.models.checkpoints.torch_modules import (
    Modules,
    attribute_of,
    check_attributes,
    classes_of,
    g_ema_of,
    has_layer_names,
    mapping_attributes,
    mapping_table,
    modules_of,
    others_in,
    variables_of,
)
from i2s_batch.models.checkpoints.variables import Stored, assemble, count_of, refuse_unknown
from i2s_batch.models.network_layout import layer_resolution
from i2s_batch.models.network_settings import STYLEGAN2, StyleGAN2Settings, num_layers, settings_of
from i2s_batch.models.weights import GeneratorWeights

_RESAMPLE = np.outer((1, 3, 3, 1), (1, 3, 3, 1)) / 64
_NO_WEIGHT = r".*\.resample_filter"


def read_stylegan2_ada(modules: Modules) -> GeneratorWeights:
    """Return the generator whose modules these are; raises CheckpointError for a variant that is not supported."""
    blocks = [int(m[1]) for m in (re.fullmatch(r"synthesis\.b(\d{1,5})", name) for name in modules) if m]
    found = variables_of(modules)
    resolution = max(blocks, default=0)
    stored: dict[str, Json] = {
        "resolution": resolution,
        "c_dim": classes_of(found),
        "mapping_layers": count_of(r"mapping\.fcN", modules),
        "mapping_lr_multiplier": attribute_of(modules, "mapping.fc0", "bias_gain"),
        "architecture": attribute_of(modules, f"synthesis.b{resolution}", "architecture"),
        "conv_clamp": attribute_of(modules, f"synthesis.b{resolution}.conv1", "conv_clamp"),
        "demodulation": "raw",
    }
    settings = StyleGAN2Settings.of(settings_of(STYLEGAN2, stored))
    _check_modules(modules, settings)
    _check_filters(found)
    table = _table(settings, modules)
    refuse_unknown(found, table, _NO_WEIGHT)
    return assemble(settings, table, found, "official StyleGAN2-ADA pickle")


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


def _table(settings: StyleGAN2Settings, modules: Modules) -> dict[str, Stored]:
    table = mapping_table(settings) | {"const": Stored("synthesis.b4.const")}
    for i in range(1, num_layers(settings.resolution)):
        r = layer_resolution(i)
        path = f"synthesis.b{r}.conv{i % 2}"
        silent = attribute_of(modules, path, "use_noise") is False
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


def _recognises(file: CheckpointFile) -> bool:
    g_ema = g_ema_of(file)
    return g_ema is not None and not has_layer_names(g_ema)


def _read(file: CheckpointFile) -> GeneratorWeights:
    return read_stylegan2_ada(modules_of(g_ema_of(file)))


FORMAT = CheckpointFormat(_recognises, _read, others_in)
