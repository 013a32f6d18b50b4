"""This module describes a file that no format recognises, or raises the error of the parser that finds it damaged."""

from __future__ import annotations

from i2s_batch.errors import CheckpointError
from i2s_batch.models.checkpoints.checkpoint_file import CheckpointFile
from i2s_batch.models.checkpoints.converted_file import read_converted
from i2s_batch.models.checkpoints.official_pickle import refusal_of as refusal_of_pickle
from i2s_batch.models.checkpoints.opening import PICKLE, SAFETENSORS, foreign
from i2s_batch.models.checkpoints.rosinality import refusal_of as refusal_of_torch_file
from i2s_batch.models.checkpoints.safetensors_file import StoredArrays
from i2s_batch.models.checkpoints.vgg_file import vgg_from_arrays, vgg_from_state_dict

_GENERATOR = "a StyleGAN checkpoint"
_VGG = "a VGG-16 state dict"


def not_a_generator(file: CheckpointFile, wanted: str = _GENERATOR) -> CheckpointError:
    """Return why no generator can be read from `file`; may raise the error of the parser instead."""
    if not file.container:
        return foreign(file.data, wanted)
    content = file.content()
    if file.container == PICKLE:
        return refusal_of_pickle(content)
    if file.container == SAFETENSORS:
        read_converted(content)
        return CheckpointError("this is a VGG-16, not a generator; give it as --vgg")
    return refusal_of_torch_file(content)


def not_a_vgg(file: CheckpointFile) -> CheckpointError:
    """Return why no VGG-16 can be read from `file`; may raise the error of the parser instead."""
    if not file.container:
        return foreign(file.data, _VGG)
    if file.container == PICKLE:
        return CheckpointError(f"this is a pickle, as the official StyleGAN programs write it, not {_VGG}")
    if file.container == SAFETENSORS:
        _read_as_vgg(file.content())
    else:
        vgg_from_state_dict(file.content())
    return CheckpointError("this is a generator, not a VGG-16; give it as --generator")


def neither(file: CheckpointFile) -> CheckpointError:
    """Return why neither network can be read from `file`; may raise the error of the parser instead."""
    if file.container == SAFETENSORS:
        _read_as_vgg(file.content())
    return not_a_generator(file, f"{_GENERATOR} or {_VGG}")


def _read_as_vgg(stored: StoredArrays) -> None:
    """Raise what is wrong with a safetensors file, as ours if it claims to be, else as a VGG-16."""
    if "family" in stored.metadata:
        read_converted(stored)
    else:
        vgg_from_arrays(stored.arrays, "")
