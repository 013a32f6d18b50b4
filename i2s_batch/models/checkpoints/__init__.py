"""One reader for each file format; nothing in a file is ever executed."""

from i2s_batch.models.checkpoints.inspection import facts, inspect_checkpoint
from i2s_batch.models.checkpoints.reader import read_generator, read_vgg
from i2s_batch.models.checkpoints.safetensors_file import write_safetensors

__all__ = ["facts", "inspect_checkpoint", "read_generator", "read_vgg", "write_safetensors"]
