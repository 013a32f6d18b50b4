"""StyleGAN2 from `G_ema` in the official StyleGAN2-ADA (PyTorch) pickle. The class sources in it are ignored."""

from __future__ import annotations

import re
from typing import Any

import numpy as np

from i2s_batch.errors import CheckpointError
from i2s_batch.models.checkpoints.arrays import StoredArray
from i2s_batch.models.checkpoints.torch_modules import (
    Modules,
    check_attributes,
    classes_of,
    mapping_attributes,
    mapping_table,
    variables_of,
)
from i2s_batch.models.checkpoints.variables import Stored, assemble, count_of, refuse_unknown
from i2s_batch.models.layout import STYLEGAN2, check_settings, layer_resolution, rgb_resolutions
from i2s_batch.models.weights import GeneratorWeights, num_layers

_RESAMPLE = np.outer((1, 3, 3, 1), (1, 3, 3, 1)) / 64
_NO_WEIGHT = r".*\.resample_filter"


def read_stylegan2_ada(modules: Modules) -> GeneratorWeights:
    """The generator whose modules these are; raises CheckpointError for a variant that is not supported."""
    blocks = [int(m[1]) for m in (re.fullmatch(r"synthesis\.b(\d{1,5})", name) for name in modules) if m]
    found = variables_of(modules)
    resolution = max(blocks, default=0)
    settings: dict[str, Any] = {
        "resolution": resolution,
        "c_dim": classes_of(found),
        "mapping_layers": count_of(r"mapping\.fcN", modules),
        "mapping_lr_multiplier": modules.get("mapping.fc0", {}).get("bias_gain"),
        "architecture": modules.get(f"synthesis.b{resolution}", {}).get("architecture"),
        "conv_clamp": modules.get(f"synthesis.b{resolution}.conv1", {}).get("conv_clamp"),
        "demodulation": "raw",
    }
    check_settings(STYLEGAN2, settings)
    _check_modules(modules, settings)
    _check_filters(found)
    table = _table(settings, modules)
    refuse_unknown(found, table, _NO_WEIGHT)
    return assemble(STYLEGAN2, settings, table, found, "official StyleGAN2-ADA pickle")


def _check_modules(modules: Modules, settings: dict[str, Any]) -> None:
    """Refuse attributes that make another network than the one that is built from `settings`."""
    expected: dict[str, dict[str, Any]] = {
        r"synthesis\.b\d+": {"architecture": settings["architecture"]},
        r"synthesis\.b\d+\.conv1": {"activation": "lrelu", "conv_clamp": settings["conv_clamp"], "up": 1},
        r"synthesis\.b\d+\.conv0": {"activation": "lrelu", "conv_clamp": settings["conv_clamp"], "up": 2},
        r"synthesis\.b\d+\.torgb": {"conv_clamp": settings["conv_clamp"]},
    }
    check_attributes(modules, expected | mapping_attributes(settings))


def _check_filters(found: dict[str, StoredArray]) -> None:
    for name, stored in found.items():
        if name.endswith(".resample_filter") and (
            stored.shape != _RESAMPLE.shape or not np.allclose(stored.read(), _RESAMPLE, rtol=0, atol=1e-6)
        ):
            raise CheckpointError(f"the filter {name} is not [1, 3, 3, 1]; not supported")


def _table(settings: dict[str, Any], modules: Modules) -> dict[str, Stored]:
    table = mapping_table(settings) | {"const": Stored("synthesis.b4.const")}
    for i in range(1, num_layers(settings["resolution"])):
        r = layer_resolution(i)
        path = f"synthesis.b{r}.conv{i % 2}"
        silent = modules.get(path, {}).get("use_noise") is False
        table[f"layer.{i}.weight"] = Stored(f"{path}.weight")
        table[f"layer.{i}.bias"] = Stored(f"{path}.bias")
        table[f"layer.{i}.noise"] = Stored(f"{path}.noise_const", zero_if_missing=silent)
        table[f"layer.{i}.noise_strength"] = Stored(f"{path}.noise_strength", zero_if_missing=silent)
        table[f"layer.{i}.style.weight"] = Stored(f"{path}.affine.weight")
        table[f"layer.{i}.style.bias"] = Stored(f"{path}.affine.bias")
        if i % 2 and settings["architecture"] == "resnet" and i > 1:
            table[f"skip.{r}.weight"] = Stored(f"synthesis.b{r}.skip.weight", (0, 1, None, None))
    for r in rgb_resolutions(settings):
        path = f"synthesis.b{r}.torgb"
        table[f"to_rgb.{r}.weight"] = Stored(f"{path}.weight", (0, 1, None, None))
        table[f"to_rgb.{r}.bias"] = Stored(f"{path}.bias")
        table[f"to_rgb.{r}.style.weight"] = Stored(f"{path}.affine.weight")
        table[f"to_rgb.{r}.style.bias"] = Stored(f"{path}.affine.bias")
    return table
