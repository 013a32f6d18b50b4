"""Reading any checkpoint: the content, never the name, says which format it is."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from i2s_batch.errors import CheckpointError
from i2s_batch.models.checkpoints.official_pickle import load_official, read_official
from i2s_batch.models.checkpoints.rosinality import read_rosinality
from i2s_batch.models.checkpoints.safetensors_file import read_arrays, read_safetensors
from i2s_batch.models.checkpoints.source import PICKLE, SAFETENSORS, TORCH_LEGACY, container_of, opened
from i2s_batch.models.checkpoints.torch_legacy import read_legacy
from i2s_batch.models.checkpoints.torch_zip import read_zip
from i2s_batch.models.checkpoints.vgg_file import vgg_from_arrays, vgg_from_state_dict
from i2s_batch.models.weights import GeneratorWeights, VGGWeights

_GENERATOR = "a StyleGAN checkpoint"
_VGG = "a VGG-16 state dict"


def read_generator(path: str | Path) -> GeneratorWeights:
    """A generator from an official pickle, a rosinality StyleGAN2 file, or our safetensors.

    Nothing in the file is executed. Raises CheckpointError, one line that names the file and what was found, for
    everything that is not whole and supported.
    """
    with opened(path) as data:
        container = container_of(data, _GENERATOR)
        if container == PICKLE:
            return read_official(load_official(data))
        if container == SAFETENSORS:
            weights = read_safetensors(data)
            if isinstance(weights, VGGWeights):
                raise CheckpointError("this is a VGG-16, not a generator; give it as --vgg")
            return weights
        return read_rosinality(torch_object(data, container))


def read_vgg(path: str | Path) -> VGGWeights:
    """VGG-16 from a torchvision state dict (either layout of torch.save), or safetensors with the same names.

    Any widths; nothing in the file is executed. Raises CheckpointError as `read_generator` does.
    """
    with opened(path) as data:
        container = container_of(data, _VGG)
        if container == PICKLE:
            raise CheckpointError(f"this is a pickle, as the official StyleGAN programs write it, not {_VGG}")
        if container == SAFETENSORS:
            return _vgg_from_safetensors(data)
        return vgg_from_state_dict(torch_object(data, container))


def torch_object(data: memoryview, container: str) -> Any:
    """The object in a torch file of either layout."""
    return read_legacy(data) if container == TORCH_LEGACY else read_zip(data)


def _vgg_from_safetensors(data: memoryview) -> VGGWeights:
    arrays, metadata = read_arrays(data)
    if "family" not in metadata:
        return vgg_from_arrays(arrays, "VGG-16 safetensors")
    weights = read_safetensors(data)
    if isinstance(weights, GeneratorWeights):
        raise CheckpointError("this is a generator, not a VGG-16; give it as --generator")
    return weights
