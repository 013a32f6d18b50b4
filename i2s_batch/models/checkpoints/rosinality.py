"""This module reads StyleGAN2 from a rosinality file: converted (g_ema, latent_avg), of a training, or bare."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace
from typing import Any

import numpy as np

from i2s_batch.config import Json
from i2s_batch.errors import CheckpointError
from i2s_batch.models.checkpoints.checkpoint_file import CheckpointFile, CheckpointFormat
from i2s_batch.models.checkpoints.stored_arrays import StoredArray
from i2s_batch.models.checkpoints.torch_tensors import is_tensor, torch_array
from i2s_batch.models.checkpoints.variables import Stored, Table, assemble, count_of, finite, refuse_unknown
from i2s_batch.models.mapping import mean_latent
from i2s_batch.models.network_layout import check_shape
from i2s_batch.models.network_settings import STYLEGAN2, StyleGAN2Settings, num_layers, resolutions, settings_of
from i2s_batch.models.weights import GeneratorWeights

_KERNEL_NAME = r".*\.kernel"
_BLUR = np.outer((1, 3, 3, 1), (1, 3, 3, 1)) / 64
_AVERAGE = "latent_avg"


def read_rosinality(file: CheckpointFile) -> GeneratorWeights:
    """Return the generator in a torch file; raises CheckpointError, saying what it is, for anything else.

    Without stored noise images (files older than those buffers) the noise is zero: its expected value. Without
    latent_avg (training files) the mean of w is computed from 4,096 seeded z.
    """
    value = file.content()
    held = state_dict_of(value)
    if held is None:
        raise refusal_of(value)
    state, which = held
    found = tensors_of(state.items())
    convolutions = count_of(r"convs\.N\.conv\.weight", found)
    stored: dict[str, Json] = {
        "resolution": 4 << (convolutions + 1) // 2,
        "c_dim": 0,
        "mapping_layers": count_of(r"style\.N\.weight", found) - 1,
        "mapping_lr_multiplier": 0.01,
        "architecture": "skip",
        "conv_clamp": None,
        "demodulation": "scaled",
    }
    settings = StyleGAN2Settings.of(settings_of(STYLEGAN2, stored))
    silent = not any(name.startswith("noises.") for name in found)
    table = _table(settings, silent)
    refuse_unknown(found, table, _KERNEL_NAME)
    _check_kernels(found)
    origin = f"rosinality StyleGAN2 file ({which})" + (", no stored noise: zero noise" if silent else "")
    average = value.get(_AVERAGE)
    if is_tensor(average):
        return assemble(settings, table, found | {_AVERAGE: torch_array(average)}, origin)
    return _with_mean(settings, table, found, origin)


# `object`: a pickled dict, of which nothing is known before `tensors_of` has looked at its entries.
def state_dict_of(value: Any) -> tuple[Mapping[object, object], str] | None:
    """Return the generator's tensors in the object of a torch file, and their name in it; None of another object."""
    if not isinstance(value, dict):
        return None
    for key in ("g_ema", "g"):
        if isinstance(value.get(key), dict):
            return value[key], key
    names = {name for name in value if isinstance(name, str)}
    foreign = names & {"features.0.weight", "g_running"} or any(n.startswith("generator.progression.") for n in names)
    bare = "conv1.conv.weight" in names and not foreign and not _is_discriminator(names)
    return (value, "bare state dict") if bare else None


def refusal_of(value: Any) -> CheckpointError:
    """Return what a torch file is that no format of a generator recognises, in one line."""
    if not isinstance(value, dict):
        return CheckpointError("this torch file holds no state dict")
    names = {name for name in value if isinstance(name, str)}
    if "features.0.weight" in names:
        what = "this is a VGG-16 (or another torchvision network), not a generator; give it as --vgg"
    elif "g_running" in names or any(name.startswith("generator.progression.") for name in names):
        what = (
            "this is a rosinality StyleGAN1 file, not supported: it is not the official network and stores neither "
            "noise nor an average latent"
        )
    elif _is_discriminator(names):
        what = "this file holds a discriminator only; a generator is needed"
    else:
        what = "this torch file holds no StyleGAN2 generator (g_ema) as the rosinality programs save it"
    return CheckpointError(what)


def _is_discriminator(names: set[str]) -> bool:
    return "d" in names or "final_conv.conv.weight" in names or any(n.startswith("final_linear.") for n in names)


def tensors_of(entries: Iterable[tuple[object, object]]) -> dict[str, StoredArray]:
    """Return the float tensors of a state dict by name; raises CheckpointError, naming a malformed entry."""
    found: dict[str, StoredArray] = {}
    for name, value in entries:
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
    settings: StyleGAN2Settings, table: Table, found: Mapping[str, StoredArray], origin: str
) -> GeneratorWeights:
    last = f"style.{settings.mapping_layers}.bias"
    if last not in found:
        raise CheckpointError(f"the variable {last} is missing")
    # Its last bias has the shape of w, and stands for the mean until that is known.
    weights = assemble(settings, {**table, "w_avg": Stored(last)}, found, origin + ", mean of w computed")
    z_dim = weights.tensors["mapping.0.weight"].shape[1]
    return replace(weights, tensors=weights.tensors | {"w_avg": mean_latent(weights, z_dim)})


def _table(settings: StyleGAN2Settings, silent: bool) -> Table:
    table = {"w_avg": Stored(_AVERAGE), "const": Stored("input.input", (None, 0, 1, 2))}
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


def _others(file: CheckpointFile, weights: object) -> Iterator[tuple[object, object]]:
    value = file.content()
    state, which = state_dict_of(value) or ({}, "")
    known = set(state) if state is value else {which, _AVERAGE}
    return ((name, entry) for name, entry in value.items() if name not in known)


FORMAT = CheckpointFormat(lambda file: state_dict_of(file.saved()) is not None, read_rosinality, _others)
