"""This module reads StyleGAN3 as NVIDIA's program has it, pickled or as a state dict.

The sources of classes in a pickle are ignored, and nothing is recomputed: frequencies, phases, filters and paddings are
the stored ones. A state dict has no paddings; they follow from the official design.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from functools import partial

import numpy as np

from i2s_batch.config import Json
from i2s_batch.errors import CheckpointError
from i2s_batch.models.alias_free import Filters, bands, layers_of
from i2s_batch.models.checkpoints.checkpoint_file import CheckpointFile, network_format
from i2s_batch.models.checkpoints.pickled_modules import ModuleState
from i2s_batch.models.checkpoints.stored_arrays import StoredArray, plain
from i2s_batch.models.checkpoints.torch_modules import (
    Module,
    Modules,
    attribute_of,
    check_attributes,
    classes_of,
    mapping_attributes,
    mapping_table,
    modules_of,
    variables_of,
)
from i2s_batch.models.checkpoints.variables import Stored, Table, assemble, count_of, refuse_unknown
from i2s_batch.models.checkpoints.wrappers import Network
from i2s_batch.models.network_settings import MAX_RESOLUTION, STYLEGAN3, StyleGAN3Settings, settings_of
from i2s_batch.models.weights import GeneratorWeights

_MOST_NAMES = 64
_NONE = r"(?!)"
_OTHER_LAYERS = "this state dict of a StyleGAN3 has not the official layers; save the whole network"
_VARIABLES = {
    "weight": "weight",
    "bias": "bias",
    "magnitude": "magnitude_ema",
    "style.weight": "affine.weight",
    "style.bias": "affine.bias",
    "up_filter": "up_filter",
    "down_filter": "down_filter",
}


def read_stylegan3(network: Network) -> GeneratorWeights:
    """Return the generator in a network; raises CheckpointError for a variant that is not supported."""
    modules = modules_of(network)
    found = variables_of(modules)
    names = _layer_names(modules) if network.module else _names_of_layers(modules)
    stored: dict[str, Json] = {"c_dim": classes_of(found), "mapping_layers": count_of(r"mapping\.fcN", modules)}
    stored |= _attributes(modules, found, names) if network.module else _designed(found, names)
    settings = StyleGAN3Settings.of(settings_of(STYLEGAN3, stored))
    if network.module:
        clamp = modules[f"synthesis.{names[-1]}"].attributes["conv_clamp"]
        layers = {
            re.escape(f"synthesis.{name}"): {"is_torgb": name == names[-1], "conv_clamp": clamp} for name in names
        }
        check_attributes(modules, {**layers, **mapping_attributes(settings)})
    table = _table(settings, names)
    refuse_unknown(found, table, _NONE)
    return assemble(settings, table, found, _origin(network))


def _attributes(modules: Modules, found: Mapping[str, StoredArray], names: list[str]) -> dict[str, Json]:
    """Return the settings that pickled modules have as attributes."""
    synthesis = modules["synthesis"].attributes
    feed, last = (_module(modules, f"synthesis.{name}").attributes for name in ("input", names[-1]))
    return {
        "resolution": plain(synthesis.get("img_resolution")),
        "mapping_lr_multiplier": attribute_of(modules, "mapping.fc0", "bias_gain"),
        "conv_clamp": plain(last.get("conv_clamp")),
        "output_scale": plain(synthesis.get("output_scale")),
        "input_size": _square(plain(feed.get("size"))),
        "sampling_rate": plain(feed.get("sampling_rate")),
        "bandwidth": plain(feed.get("bandwidth")),
        "layers": [_layer(modules, found, name) for name in names],
    }


def _designed(found: Mapping[str, StoredArray], names: list[str]) -> dict[str, Json]:
    """Return the settings of the official design, which a state dict does not hold but shows.

    Its names hold the sizes of the layers and it has their filters: if either are not the design's, it is refused.
    """
    sizes = [int(name.split("_")[1]) for name in names]
    radial = any(len(array.shape) == 2 for name, array in found.items() if name.endswith(".down_filter"))
    resolution = sizes[-1] if sizes else 0
    if resolution.bit_count() != 1 or not 16 <= resolution <= MAX_RESOLUTION:
        raise CheckpointError(_OTHER_LAYERS)
    layers, filters = layers_of(resolution, radial)
    every = bands(resolution)
    if sizes != [band.size for band in every] or not all(map(partial(_has_filters, found), names, filters)):
        raise CheckpointError(_OTHER_LAYERS)
    first = every[0]
    designed = StyleGAN3Settings(
        resolution, 0, 1, 0.01, 256, 0.25, first.size, float(first.rate), first.cutoff, layers
    ).to_json()
    return {name: value for name, value in designed.items() if name not in ("c_dim", "mapping_layers")}


def _has_filters(found: Mapping[str, StoredArray], name: str, designed: Filters) -> bool:
    """Return whether the filters of a layer are the designed ones."""
    for part, expected in (("up_filter", designed.up), ("down_filter", designed.down)):
        stored = found.get(f"synthesis.{name}.{part}")
        if stored is None or stored.shape != expected.shape or not np.allclose(stored.read(), expected, 0, 1e-6):
            return False
    return True


def _names_of_layers(modules: Modules) -> list[str]:
    """Return the layers of a state dict in their order, which their names tell."""
    matches = (re.fullmatch(r"synthesis\.(L(\d{1,2})_\d{1,5}_\d{1,5})", path) for path in modules)
    return [name for _, name in sorted((int(match[2]), match[1]) for match in matches if match)]


def _origin(network: Network) -> str:
    if network.path == ("G_ema",):
        return "official StyleGAN3 pickle"
    assumed = "" if network.module else ", no settings stored: those of the official design"
    return f"StyleGAN3 network ({network.wrapper})" + assumed


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


def _find(file: CheckpointFile) -> Network | None:
    """Return the first network that is a mapping and a synthesis that lists its layers, or has their input."""
    for network in file.networks:
        # A StyleGAN-XL has a projection of its class embedding, and is another network.
        if all(map(network.holds, ("mapping", "synthesis"))) and not network.holds("mapping.embed_proj"):
            state = ModuleState.of(network.entries.get("synthesis"))
            if network.holds("synthesis.input") or (state and "layer_names" in state.attributes):
                return network
    return None


FORMAT = network_format(_find, read_stylegan3)
