"""StyleGAN2 from `G_ema` in the official StyleGAN2-ADA (PyTorch) pickle. The class sources in it are ignored."""

from __future__ import annotations

import re
from typing import Any

import numpy as np

from i2s_batch.errors import CheckpointError
from i2s_batch.models.checkpoints.arrays import StoredArray
from i2s_batch.models.checkpoints.restricted import Record
from i2s_batch.models.checkpoints.torch_tensors import torch_array
from i2s_batch.models.checkpoints.variables import Stored, assemble, count_of, refuse_unknown
from i2s_batch.models.layout import STYLEGAN2, check_settings, layer_resolution, rgb_resolutions
from i2s_batch.models.weights import GeneratorWeights, num_layers

_RESAMPLE = np.outer((1, 3, 3, 1), (1, 3, 3, 1)) / 64
_DEEPEST = 5
_MOST_MODULES = 2_000
_NO_WEIGHT = r".*\.resample_filter"


def read_stylegan2_ada(g_ema: Record) -> GeneratorWeights:
    """The generator of a G_ema object; raises CheckpointError for StyleGAN3 and for variants not supported."""
    modules = _modules(g_ema)
    if "input" in modules["synthesis"]["_modules"] or "layer_names" in modules["synthesis"]:
        raise CheckpointError("this is a StyleGAN3 pickle, not supported yet (StyleGAN1, StyleGAN2-ADA are)")
    blocks = [int(m[1]) for m in (re.fullmatch(r"synthesis\.b(\d{1,5})", name) for name in modules) if m]
    found = _variables(modules)
    resolution = max(blocks, default=0)
    settings: dict[str, Any] = {
        "resolution": resolution,
        "c_dim": _classes(found),
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


def _modules(g_ema: Record) -> dict[str, dict[str, Any]]:
    """The attribute dict of every module by its path. A module that contains itself ends at a depth."""
    modules: dict[str, dict[str, Any]] = {}
    waiting: list[tuple[str, Any]] = [("", g_ema)]
    while waiting:
        path, module = waiting.pop()
        meta = module.args[0] if isinstance(module, Record) and module.args else None
        state = meta.get("state") if isinstance(meta, dict) else None
        tables = ("_modules", "_parameters", "_buffers")
        if not isinstance(state, dict) or not all(isinstance(state.get(table), dict) for table in tables):
            raise CheckpointError(f"its module {path[:80] or 'G_ema'} is malformed")
        modules[path] = state
        children = state["_modules"].items()
        if len(modules) + len(waiting) + len(children) > _MOST_MODULES or path.count(".") >= _DEEPEST:
            raise CheckpointError("its G_ema has more modules than a StyleGAN2")
        waiting += [(f"{path}.{name}" if path else str(name), child) for name, child in children]
    return modules


def _variables(modules: dict[str, dict[str, Any]]) -> dict[str, StoredArray]:
    found: dict[str, StoredArray] = {}
    for path, state in modules.items():
        for name, value in [*state["_parameters"].items(), *state["_buffers"].items()]:
            if value is None:  # a layer without this parameter
                continue
            full = f"{path}.{name}"
            try:
                found[full] = torch_array(value)
            except CheckpointError as error:
                raise CheckpointError(f"the variable {full[:80]}: {error}") from error
    return found


def _classes(found: dict[str, StoredArray]) -> int:
    embedding = found.get("mapping.embed.weight")
    return embedding.shape[1] if embedding is not None and len(embedding.shape) == 2 else 0


def _check_modules(modules: dict[str, dict[str, Any]], settings: dict[str, Any]) -> None:
    """Refuse attributes that make another network than the one that is built from `settings`."""
    expected: dict[str, dict[str, Any]] = {
        r"synthesis\.b\d+": {"architecture": settings["architecture"]},
        r"synthesis\.b\d+\.conv1": {"activation": "lrelu", "conv_clamp": settings["conv_clamp"], "up": 1},
        r"synthesis\.b\d+\.conv0": {"activation": "lrelu", "conv_clamp": settings["conv_clamp"], "up": 2},
        r"synthesis\.b\d+\.torgb": {"conv_clamp": settings["conv_clamp"]},
        r"mapping\.fc\d+": {"activation": "lrelu", "bias_gain": settings["mapping_lr_multiplier"]},
        r"mapping\.embed|.*\.affine": {"activation": "linear", "bias_gain": 1},
    }
    for path, state in modules.items():
        for pattern, attributes in expected.items():
            for name, value in attributes.items() if re.fullmatch(pattern, path) else ():
                if name not in state or state[name] != value:
                    raise CheckpointError(f"its module {path} has another {name} than {value}; not supported")


def _check_filters(found: dict[str, StoredArray]) -> None:
    for name, stored in found.items():
        if name.endswith(".resample_filter") and (
            stored.shape != _RESAMPLE.shape or not np.allclose(stored.read(), _RESAMPLE, rtol=0, atol=1e-6)
        ):
            raise CheckpointError(f"the filter {name} is not [1, 3, 3, 1]; not supported")


def _table(settings: dict[str, Any], modules: dict[str, dict[str, Any]]) -> dict[str, Stored]:
    table = {
        "w_avg": Stored("mapping.w_avg"),
        "const": Stored("synthesis.b4.const"),
        "label.weight": Stored("mapping.embed.weight"),
        "label.bias": Stored("mapping.embed.bias"),
    }
    for j in range(settings["mapping_layers"]):
        table[f"mapping.{j}.weight"] = Stored(f"mapping.fc{j}.weight")
        table[f"mapping.{j}.bias"] = Stored(f"mapping.fc{j}.bias")
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
