"""StyleGAN2 from a rosinality file: converted (g_ema, latent_avg), of its training script, or a bare state dict."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np

from i2s_batch.errors import CheckpointError
from i2s_batch.models.checkpoints.arrays import StoredArray
from i2s_batch.models.checkpoints.torch_tensors import is_tensor, torch_array
from i2s_batch.models.checkpoints.variables import Stored, Table, assemble, count_of, finite, refuse_unknown
from i2s_batch.models.layout import STYLEGAN2, check_settings, check_shape, resolutions
from i2s_batch.models.mapping import mean_latent
from i2s_batch.models.weights import GeneratorWeights, num_layers

_KERNEL_NAME = r".*\.kernel"
_BLUR = np.outer((1, 3, 3, 1), (1, 3, 3, 1)) / 64
AVERAGE = "latent_avg"


def read_rosinality(value: Any) -> GeneratorWeights:
    """The generator in the object of a torch file; raises CheckpointError, saying what it is, for anything else.

    Without stored noise images (files older than those buffers) the noise is zero: its expected value. Without
    latent_avg (training files) the mean of w is computed from 4,096 seeded z.
    """
    state, which = state_dict_of(value)
    found = tensors_of(state)
    convolutions = count_of(r"convs\.N\.conv\.weight", found)
    settings: dict[str, Any] = {
        "resolution": 4 << (convolutions + 1) // 2,
        "c_dim": 0,
        "mapping_layers": count_of(r"style\.N\.weight", found) - 1,
        "mapping_lr_multiplier": 0.01,
        "architecture": "skip",
        "conv_clamp": None,
        "demodulation": "scaled",
    }
    check_settings(STYLEGAN2, settings)
    silent = not any(name.startswith("noises.") for name in found)
    table = _table(settings, silent)
    refuse_unknown(found, table, _KERNEL_NAME)
    _check_kernels(found)
    origin = f"rosinality StyleGAN2 file ({which})" + (", no stored noise: zero noise" if silent else "")
    average = value.get(AVERAGE)
    if is_tensor(average):
        return assemble(STYLEGAN2, settings, table, found | {AVERAGE: torch_array(average)}, origin)
    return _with_mean(settings, table, found, origin)


def state_dict_of(value: Any) -> tuple[dict[Any, Any], str]:
    """The generator's tensors in the object of a torch file, and the name under which they are there."""
    if not isinstance(value, dict):
        raise CheckpointError("this torch file holds no state dict")
    names = {name for name in value if isinstance(name, str)}
    for key in ("g_ema", "g"):
        if isinstance(value.get(key), dict):
            return value[key], key
    if "features.0.weight" in names:
        raise CheckpointError("this is a VGG-16 (or another torchvision network), not a generator; give it as --vgg")
    if "g_running" in names or any(name.startswith("generator.progression.") for name in names):
        raise CheckpointError(
            "this is a rosinality StyleGAN1 file, not supported: it is not the official network and stores neither "
            "noise nor an average latent"
        )
    if "d" in names or "final_conv.conv.weight" in names or any(name.startswith("final_linear.") for name in names):
        raise CheckpointError("this file holds a discriminator only; a generator is needed")
    if "conv1.conv.weight" in names:
        return value, "bare state dict"
    raise CheckpointError("this torch file holds no StyleGAN2 generator (g_ema) as the rosinality programs save it")


def tensors_of(state: Mapping[Any, Any]) -> dict[str, StoredArray]:
    """The float tensors of a state dict by name; raises CheckpointError, naming a malformed entry."""
    found: dict[str, StoredArray] = {}
    for name, value in state.items():
        if not isinstance(name, str) or not is_tensor(value):
            raise CheckpointError(f"the entry {str(name)[:80]} of its state dict is no tensor")
        try:
            found[name] = torch_array(value)
        except CheckpointError as error:
            raise CheckpointError(f"the variable {name[:80]}: {error}") from error
    return found


def _check_kernels(found: Mapping[str, StoredArray]) -> None:
    for name, stored in found.items():
        if not re.fullmatch(_KERNEL_NAME, name):
            continue
        check_shape(name, stored.shape, _BLUR.shape)
        kernel = finite(name, stored.read())
        if not np.allclose(kernel, _BLUR * kernel.sum(), rtol=0, atol=1e-5):
            raise CheckpointError(f"the filter {name} is not [1, 3, 3, 1]; not supported")


def _with_mean(
    settings: dict[str, Any], table: Table, found: Mapping[str, StoredArray], origin: str
) -> GeneratorWeights:
    last = f"style.{settings['mapping_layers']}.bias"
    if last not in found:
        raise CheckpointError(f"the variable {last} is missing")
    # Its last bias has the shape of w, and stands for the mean until that is known.
    weights = assemble(STYLEGAN2, settings, {**table, "w_avg": Stored(last)}, found, origin + ", mean of w computed")
    z_dim = weights.tensors["mapping.0.weight"].shape[1]
    return replace(weights, tensors=weights.tensors | {"w_avg": mean_latent(weights, z_dim)})


def _table(settings: dict[str, Any], silent: bool) -> Table:
    table = {"w_avg": Stored(AVERAGE), "const": Stored("input.input", (None, 0, 1, 2))}
    for j in range(settings["mapping_layers"]):
        table[f"mapping.{j}.weight"] = Stored(f"style.{j + 1}.weight")
        table[f"mapping.{j}.bias"] = Stored(f"style.{j + 1}.bias")
    for i in range(1, num_layers(settings["resolution"])):
        path = "conv1" if i == 1 else f"convs.{i - 2}"
        noise = Stored(f"noises.noise_{i - 1}", (None, None, 0, 1), zero_if_missing=silent)
        table[f"layer.{i}.noise"] = noise
        table[f"layer.{i}.weight"] = Stored(f"{path}.conv.weight", (None, 0, 1, 2, 3))
        table[f"layer.{i}.bias"] = Stored(f"{path}.activate.bias")
        table[f"layer.{i}.noise_strength"] = Stored(f"{path}.noise.weight", (None,))
        table[f"layer.{i}.style.weight"] = Stored(f"{path}.conv.modulation.weight")
        table[f"layer.{i}.style.bias"] = Stored(f"{path}.conv.modulation.bias")
    for place, r in enumerate(resolutions(settings["resolution"])):
        path = "to_rgb1" if place == 0 else f"to_rgbs.{place - 1}"
        table[f"to_rgb.{r}.weight"] = Stored(f"{path}.conv.weight", (None, 0, 1, None, None))
        table[f"to_rgb.{r}.bias"] = Stored(f"{path}.bias", (None, 0, None, None))
        table[f"to_rgb.{r}.style.weight"] = Stored(f"{path}.conv.modulation.weight")
        table[f"to_rgb.{r}.style.bias"] = Stored(f"{path}.conv.modulation.bias")
    return table
