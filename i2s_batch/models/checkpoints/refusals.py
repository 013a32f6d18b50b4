"""This module describes a file that no format recognises, or raises the error of the parser that finds it damaged."""

from __future__ import annotations

from i2s_batch.errors import CheckpointError
from i2s_batch.models.checkpoints.checkpoint_file import CheckpointFile
from i2s_batch.models.checkpoints.converted_file import read_converted
from i2s_batch.models.checkpoints.looks import look_of
from i2s_batch.models.checkpoints.opening import PICKLE, SAFETENSORS, foreign
from i2s_batch.models.checkpoints.safetensors_file import StoredArrays
from i2s_batch.models.checkpoints.tensorflow_network import refusal_of as refusal_of_tensorflow
from i2s_batch.models.checkpoints.vgg_file import vgg_from_arrays, vgg_from_state_dict

_GENERATOR = "a StyleGAN checkpoint"
_VGG = "a VGG-16 state dict"
_CONTAINERS = {PICKLE: "pickle", SAFETENSORS: "safetensors file"}


def not_a_generator(file: CheckpointFile, is_vgg: bool, wanted: str = _GENERATOR) -> CheckpointError:
    """Return why no generator can be read from `file`; may raise the error of the parser instead."""
    if not file.container:
        return foreign(file.data, wanted)
    content = file.content()
    if is_vgg:
        return CheckpointError("this is a VGG-16, not a generator; give it as --vgg")
    if isinstance(content, StoredArrays) and ("family" in content.metadata or not content.arrays):
        read_converted(content)  # says what is wrong with it
    return refusal_of_tensorflow(content) or CheckpointError(_look(file))


def not_a_vgg(file: CheckpointFile, is_generator: bool) -> CheckpointError:
    """Return why no VGG-16 can be read from `file`; may raise the error of the parser instead."""
    if not file.container:
        return foreign(file.data, _VGG)
    content = file.content()
    if is_generator:
        return CheckpointError("this is a generator, not a VGG-16; give it as --generator")
    if isinstance(content, StoredArrays):
        # Says what is wrong with it.
        read_converted(content) if "family" in content.metadata else vgg_from_arrays(content.arrays, "")
    elif file.container == PICKLE:
        return CheckpointError(f"this is a pickle, not {_VGG}")
    vgg_from_state_dict(content)
    return CheckpointError(f"this file holds no {_VGG}")


def neither(file: CheckpointFile) -> CheckpointError:
    """Return why neither network can be read from `file`; may raise the error of the parser instead."""
    return not_a_generator(file, False, f"{_GENERATOR} or {_VGG}")


def _look(file: CheckpointFile) -> str:
    what = _CONTAINERS.get(file.container, "torch file")
    look = look_of(file.networks)
    if look is None:
        return f"this {what} holds no state dict and no module of a network, or their variables are missing"
    return f"this {what} holds no StyleGAN generator in a known layout; by its names it is {look}"
