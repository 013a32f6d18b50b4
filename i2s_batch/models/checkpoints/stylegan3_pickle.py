"""This module reads StyleGAN3 from `G_ema` in the official pickle.

The class sources in it are ignored, and nothing is recomputed: frequencies, phases, filters and paddings are the
stored ones.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

from i2s_batch.config import Json
from i2s_batch.errors import CheckpointError
from i2s_batch.models.checkpoints.checkpoint_file import CheckpointFile, CheckpointFormat
from i2s_batch.models.checkpoints.stored_arrays import StoredArray, plain
from i2s_batch.models.checkpoints.torch_modules import (
    Module,
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
from i2s_batch.models.checkpoints.variables import Stored, Table, assemble, count_of, refuse_unknown
from i2s_batch.models.network_settings import STYLEGAN3, StyleGAN3Settings, settings_of
from i2s_batch.models.weights import GeneratorWeights

_MOST_NAMES = 64
_NONE = r"(?!)"
_VARIABLES = {
    "weight": "weight",
    "bias": "bias",
    "magnitude": "magnitude_ema",
    "style.weight": "affine.weight",
    "style.bias": "affine.bias",
    "up_filter": "up_filter",
    "down_filter": "down_filter",
}


def read_stylegan3(modules: Modules) -> GeneratorWeights:
    """Return the generator whose modules these are; raises CheckpointError for a variant that is not supported."""
    synthesis = modules["synthesis"].attributes
    names = _layer_names(modules)
    found = variables_of(modules)
    feed, last = (_module(modules, f"synthesis.{name}").attributes for name in ("input", names[-1]))
    stored: dict[str, Json] = {
        "resolution": plain(synthesis.get("img_resolution")),
        "c_dim": classes_of(found),
        "mapping_layers": count_of(r"mapping\.fcN", modules),
        "mapping_lr_multiplier": attribute_of(modules, "mapping.fc0", "bias_gain"),
        "conv_clamp": plain(last.get("conv_clamp")),
        "output_scale": plain(synthesis.get("output_scale")),
        "input_size": _square(plain(feed.get("size"))),
        "sampling_rate": plain(feed.get("sampling_rate")),
        "bandwidth": plain(feed.get("bandwidth")),
        "layers": [_layer(modules, found, name) for name in names],
    }
    settings = StyleGAN3Settings.of(settings_of(STYLEGAN3, stored))
    clamp = last["conv_clamp"]
    layers = {re.escape(f"synthesis.{name}"): {"is_torgb": name == names[-1], "conv_clamp": clamp} for name in names}
    check_attributes(modules, {**layers, **mapping_attributes(settings)})
    table = _table(settings, names)
    refuse_unknown(found, table, _NONE)
    return assemble(settings, table, found, "official StyleGAN3 pickle")


def _layer_names(modules: Modules) -> list[str]:
    names = modules["synthesis"].attributes["layer_names"]
    if not isinstance(names, list) or not 0 < len(names) <= _MOST_NAMES or not all(isinstance(n, str) for n in names):
        raise CheckpointError("its list of layer names is malformed")
    return names


def _module(modules: Modules, path: str) -> Module:
    if path not in modules:
        raise CheckpointError(f"its module {path[:80]} is missing")
    return modules[path]


def _square(size: Json) -> Json:
    """Return the side of a [width, height]; anything else is left to the check of the settings."""
    return size[0] if isinstance(size, list) and len(size) == 2 and size[0] == size[1] else size


def _layer(modules: Modules, found: Mapping[str, StoredArray], name: str) -> dict[str, Json]:
    module, path = _module(modules, f"synthesis.{name}").attributes, f"synthesis.{name}.down_filter"
    theirs = {"kernel": "conv_kernel", "up": "up_factor", "down": "down_factor"}
    theirs |= {attribute: attribute for attribute in ("up_taps", "down_taps", "padding")}
    # Configuration R has radial filters, but for its last layers: the filter itself shows it.
    radial = path in found and len(found[path].shape) == 2
    return {"radial": radial, **{ours: plain(module.get(attribute)) for ours, attribute in theirs.items()}}


def _table(settings: StyleGAN3Settings, names: list[str]) -> Table:
    table = mapping_table(settings)
    for name in ("freqs", "phases", "transform", "weight"):
        table[f"input.{name}"] = Stored(f"synthesis.input.{name}")
    for part in ("weight", "bias"):
        table[f"input.style.{part}"] = Stored(f"synthesis.input.affine.{part}")
    for i, name in enumerate(names):
        for ours, theirs in _VARIABLES.items():
            table[f"layer.{i}.{ours}"] = Stored(f"synthesis.{name}.{theirs}")
    return table


def _recognises(file: CheckpointFile) -> bool:
    g_ema = g_ema_of(file)
    return g_ema is not None and has_layer_names(g_ema)


def _read(file: CheckpointFile) -> GeneratorWeights:
    return read_stylegan3(modules_of(g_ema_of(file)))


FORMAT = CheckpointFormat(_recognises, _read, others_in)
