"""This module reads VGG-16 from a torchvision state dict, or safetensors with the same names.

The classifier's storages, 500 of 528 MB, are never touched.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any

from i2s_batch.errors import CheckpointError
from i2s_batch.models.checkpoints.checkpoint_file import CheckpointFile, CheckpointFormat
from i2s_batch.models.checkpoints.safetensors_file import StoredArrays
from i2s_batch.models.checkpoints.stored_arrays import StoredArray
from i2s_batch.models.checkpoints.torch_tensors import tensors_of
from i2s_batch.models.checkpoints.variables import check_total, finite
from i2s_batch.models.vgg import check_vgg
from i2s_batch.models.weights import VGG_LAYERS, VGG_LAYERS_TO_CONV4_2, GeneratorWeights, VGGWeights

_FIRST = "features.0.weight"
_NAME = re.compile(r"features\.(\d{1,3})\.(weight|bias)")


def vgg_from_state_dict(value: Any) -> VGGWeights:
    """Return the convolutions in the object of a torch file; raises CheckpointError for another network."""
    if not _is_state_dict(value):
        raise CheckpointError("this torch file holds no state dict of a VGG-16 (features.0.weight is missing)")
    convolutions = ((n, v) for n, v in value.items() if isinstance(n, str) and n.startswith("features."))
    return vgg_from_arrays(tensors_of(convolutions), "torchvision VGG-16 state dict")


def vgg_from_arrays(found: Mapping[str, StoredArray], origin: str) -> VGGWeights:
    """Return the convolutions among named arrays: the nine up to conv4_2, or all thirteen if they are there."""
    layers = {int(match[1]) for match in map(_NAME.fullmatch, found) if match}
    if not layers <= set(VGG_LAYERS):
        raise CheckpointError(f"features.{min(layers - set(VGG_LAYERS))} is a layer of another VGG; VGG-16 is needed")
    whole = layers == set(VGG_LAYERS)
    kept = [f"features.{n}.{part}" for n in VGG_LAYERS for part in ("weight", "bias")]
    names = kept if whole else kept[: 2 * VGG_LAYERS_TO_CONV4_2]
    check_total(found[name].count for name in names if name in found)
    tensors = {name: finite(name, found[name].read()) for name in names if name in found}
    weights = VGGWeights(tensors, origin)
    check_vgg(weights)
    return weights


def _is_state_dict(value: object) -> bool:
    return isinstance(value, dict) and _FIRST in value


def _is_safetensors(file: CheckpointFile) -> bool:
    """Return whether a safetensors file has torchvision's names, and no metadata that call it something else."""
    stored = file.arrays()
    return stored is not None and "family" not in stored.metadata and _FIRST in stored.arrays


def _read_safetensors(file: CheckpointFile) -> VGGWeights:
    stored: StoredArrays = file.content()
    return vgg_from_arrays(stored.arrays, "VGG-16 safetensors")


def _others(file: CheckpointFile, weights: GeneratorWeights | VGGWeights) -> Iterator[tuple[object, object]]:
    stored = file.arrays()
    held = file.content() if stored is None else stored.arrays
    return ((name, entry) for name, entry in held.items() if name not in weights.tensors)


STATE_DICT = CheckpointFormat(
    lambda file: _is_state_dict(file.saved()), lambda file: vgg_from_state_dict(file.content()), _others
)
SAFETENSORS = CheckpointFormat(_is_safetensors, _read_safetensors, _others)
