"""This package reads checkpoints, one file for each format (`formats`); nothing in a checkpoint is ever executed."""

from i2s_batch.models.checkpoints.converted_file import write_safetensors
from i2s_batch.models.checkpoints.inspection import facts, inspect_checkpoint
from i2s_batch.models.checkpoints.reader import read_generator, read_vgg

__all__ = ["facts", "inspect_checkpoint", "read_generator", "read_vgg", "write_safetensors"]
