"""This module reads StyleGAN2 as rosinality's program has it, and those built on it: e4e, pSp, ReStyle, StyleGAN-NADA.

Files are converted (g_ema, latent_avg), of a training, of an encoder (decoder., latent_avg [layers, w]), or bare.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import replace

import numpy as np

from i2s_batch.config import Json
from i2s_batch.errors import CheckpointError
from i2s_batch.models.checkpoints.checkpoint_file import network_format
from i2s_batch.models.checkpoints.stored_arrays import StoredArray, contiguous
from i2s_batch.models.checkpoints.torch_modules import tensors_in
from i2s_batch.models.checkpoints.torch_tensors import torch_array
from i2s_batch.models.checkpoints.variables import Stored, Table, assemble, count_of, finite, refuse_unknown
from i2s_batch.models.checkpoints.wrappers import Network, first_network
from i2s_batch.models.mapping import mean_latent
from i2s_batch.models.network_layout import check_shape
from i2s_batch.models.network_settings import (
    STYLEGAN2,
    GeneratorSettings,
    StyleGAN2Settings,
    num_layers,
    resolutions,
    settings_of,
)
from i2s_batch.models.weights import GeneratorWeights

_KERNEL_NAME = r".*\.kernel"
_BLUR = np.outer((1, 3, 3, 1), (1, 3, 3, 1)) / 64
AVERAGE = "latent_avg"


def read_rosinality(network: Network) -> GeneratorWeights:
    """Return the generator in a network; raises CheckpointError, naming the variable, for what is not whole.

    Without stored noise images (files older than those buffers) the noise is zero: its expected value. Without
    latent_avg (training files) the mean of w is computed from 4,096 seeded z.
    """
    found = tensors_in(network)
    convolutions = count_of(r"convs\.N\.conv\.weight", found)
    depth = count_of(r"style\.N\.weight", found) - 1
    settings = skip_settings(4 << (convolutions + 1) // 2, depth)
    silent = not any(name.startswith("noises.") for name in found)
    table = _table(settings, silent)
    refuse_unknown(found, table, _KERNEL_NAME)
    _check_kernels(found)
    origin = f"rosinality StyleGAN2 file ({network.wrapper})" + (", no stored noise: zero noise" if silent else "")
    return assemble_with_average(settings, table, found, network, origin)


def skip_settings(resolution: int, mapping_layers: int) -> StyleGAN2Settings:
    """Return the settings of the StyleGAN2 that other programs than NVIDIA's have in common."""
    stored: dict[str, Json] = {
        "resolution": resolution,
        "c_dim": 0,
        "mapping_layers": mapping_layers,
        "mapping_lr_multiplier": 0.01,
        "architecture": "skip",
        "conv_clamp": None,
        "demodulation": "scaled",
    }
    return StyleGAN2Settings.of(settings_of(STYLEGAN2, stored))


def _check_kernels(found: Mapping[str, StoredArray]) -> None:
    for name, stored in found.items():
        if not re.fullmatch(_KERNEL_NAME, name):
            continue
        check_shape(name, stored.shape, _BLUR.shape)
        kernel = finite(name, stored.read())
        if not np.allclose(kernel, _BLUR * kernel.sum(), rtol=0, atol=1e-5):
            raise CheckpointError(f"the filter {name} is not [1, 3, 3, 1]; not supported")


def assemble_with_average(
    settings: GeneratorSettings, table: Table, found: Mapping[str, StoredArray], network: Network, origin: str
) -> GeneratorWeights:
    """Return the weights with the `latent_avg` in or around a network, or else with the computed mean of w."""
    average = network.beside(AVERAGE)
    if average is None:
        return with_mean(settings, table, found, origin)
    array, note = _one_average(torch_array(average))
    return assemble(settings, table, {**found, AVERAGE: array}, origin + note)


def _one_average(array: StoredArray) -> tuple[StoredArray, str]:
    """Return an average of the shape [w], and a note for people.

    The programs of e4e, pSp and ReStyle store [layers, w]: the same vector in each layer, else their mean is taken.
    """
    if len(array.shape) != 2:
        return array, ""
    rows = array.read()
    same = bool((rows == rows[0]).all())
    row = rows[0] if same else rows.mean(0, np.float64).astype(np.float32)
    note = "" if same else f", latent_avg averaged over its {len(rows)} layers"
    return contiguous(memoryview(row.tobytes()), "float32", row.shape), note


def with_mean(
    settings: GeneratorSettings, table: Table, found: Mapping[str, StoredArray], origin: str
) -> GeneratorWeights:
    """Return the weights with the mean of w that is computed, of a file that stores none."""
    last = table[f"mapping.{settings.mapping_layers - 1}.bias"].name
    if last not in found:
        raise CheckpointError(f"the variable {last} is missing")
    # Its last bias has the shape of w, and stands for the mean until that is known.
    weights = assemble(settings, {**table, "w_avg": Stored(last)}, found, origin + ", mean of w computed")
    z_dim = weights.tensors["mapping.0.weight"].shape[1]
    return replace(weights, tensors=weights.tensors | {"w_avg": mean_latent(weights, z_dim)})


def _table(settings: StyleGAN2Settings, silent: bool) -> Table:
    table = {"w_avg": Stored(AVERAGE), "const": Stored("input.input", (None, 0, 1, 2))}
    for j in range(settings.mapping_layers):
        table[f"mapping.{j}.weight"] = Stored(f"style.{j + 1}.weight")
        table[f"mapping.{j}.bias"] = Stored(f"style.{j + 1}.bias")
    for i in range(1, num_layers(settings.resolution)):
        path = "conv1" if i == 1 else f"convs.{i - 2}"
        noise = Stored(f"noises.noise_{i - 1}", (None, None, 0, 1), zero_if_missing=silent)
        table[f"layer.{i}.noise"] = noise
        table[f"layer.{i}.weight"] = Stored(f"{path}.conv.weight", (None, 0, 1, 2, 3))
        table[f"layer.{i}.bias"] = Stored(f"{path}.activate.bias")
        table[f"layer.{i}.noise_strength"] = Stored(f"{path}.noise.weight", (None,))
        table[f"layer.{i}.style.weight"] = Stored(f"{path}.conv.modulation.weight")
        table[f"layer.{i}.style.bias"] = Stored(f"{path}.conv.modulation.bias")
    for position, r in enumerate(resolutions(settings.resolution)):
        path = "to_rgb1" if position == 0 else f"to_rgbs.{position - 1}"
        table[f"to_rgb.{r}.weight"] = Stored(f"{path}.conv.weight", (None, 0, 1, None, None))
        table[f"to_rgb.{r}.bias"] = Stored(f"{path}.bias", (None, 0, None, None))
        table[f"to_rgb.{r}.style.weight"] = Stored(f"{path}.conv.modulation.weight")
        table[f"to_rgb.{r}.style.bias"] = Stored(f"{path}.conv.modulation.bias")
    return table


FORMAT = network_format(
    lambda file: first_network(file.networks, "conv1.conv", "to_rgb1", "style"), read_rosinality, AVERAGE
)
