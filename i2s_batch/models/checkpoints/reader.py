"""This module reads any checkpoint: the content, never the name, decides which format it is (`formats.FORMATS`)."""

from __future__ import annotations

from pathlib import Path

from i2s_batch.models.checkpoints.checkpoint_file import CheckpointFile, CheckpointFormat
from i2s_batch.models.checkpoints.formats import FORMATS, GENERATOR, VGG, FormatDeclaration
from i2s_batch.models.checkpoints.opening import opened
from i2s_batch.models.checkpoints.refusals import not_a_generator, not_a_vgg
from i2s_batch.models.weights import GeneratorWeights, VGGWeights


def read_generator(path: str | Path) -> GeneratorWeights:
    """Return the generator in a file of any format in `formats.FORMATS`.

    Nothing in the file is executed. Raises CheckpointError, one line that names the file and what was found, for
    everything that is not whole and supported.
    """
    with opened(path) as data:
        file = CheckpointFile(data)
        found = recognised(file, GENERATOR)
        weights = None if found is None else found[1].read(file)
        if not isinstance(weights, GeneratorWeights):
            raise not_a_generator(file, recognised(file, VGG) is not None)
        return weights


def read_vgg(path: str | Path) -> VGGWeights:
    """Return the VGG-16, of any widths, in a file of any format in `formats.FORMATS`.

    Nothing in the file is executed. Raises CheckpointError as `read_generator` does.
    """
    with opened(path) as data:
        file = CheckpointFile(data)
        found = recognised(file, VGG)
        weights = None if found is None else found[1].read(file)
        if not isinstance(weights, VGGWeights):
            raise not_a_vgg(file, recognised(file, GENERATOR) is not None)
        return weights


def recognised(file: CheckpointFile, network: str | None = None) -> tuple[FormatDeclaration, CheckpointFormat] | None:
    """Return the first format that recognises a file, of those that hold a `network` (None: any); None without one."""
    for declaration in FORMATS:
        if network in (None, declaration.network):
            found: CheckpointFormat = declaration.resolve()
            if found.recognises(file):
                return declaration, found
    return None
