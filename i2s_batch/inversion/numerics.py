"""Sets the arithmetic of the process, in one place."""

from __future__ import annotations

import torch

from i2s_batch.config import PRECISIONS
from i2s_batch.errors import ConfigError


def set_numerics(precision: str) -> torch.dtype:
    """Set the process-wide matrix arithmetic for `precision` and return the dtype of the networks.

    `fp32`: true float32 products everywhere (PyTorch would use TF32 in convolutions by default);
    `tf32`: TF32 products on GPUs that have them; `bf16`: float32, but bfloat16 feature maps (`feature_map_dtype`);
    `fp64`: float64, for checking.
    """
    if precision not in PRECISIONS:
        raise ConfigError(f"precision is {precision!r}; it must be one of {', '.join(PRECISIONS)}")
    tf32 = precision == "tf32"
    torch.backends.cuda.matmul.allow_tf32 = tf32
    # Not through `cudnn.conv.fp32_precision`: with it, tracing and compiling refuse to run because the flags disagree.
    torch.backends.cudnn.allow_tf32 = tf32
    torch.backends.cudnn.benchmark = True  # shapes change only while a batch fills, and at a dataset's end
    return torch.float64 if precision == "fp64" else torch.float32


def feature_map_dtype(precision: str) -> torch.dtype | None:
    """Return the dtype of the networks' feature maps where it is not that of everything else."""
    return torch.bfloat16 if precision == "bf16" else None
