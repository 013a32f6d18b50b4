"""The one place where numerics are set."""

from __future__ import annotations

import torch

from i2s_batch.config import PRECISIONS
from i2s_batch.errors import ConfigError


def set_numerics(precision: str) -> torch.dtype:
    """Set the process-wide matrix arithmetic for `precision` and return the dtype of the networks.

    `fp32`: true float32 products everywhere (PyTorch would use TF32 in convolutions by default);
    `tf32`: TF32 products on GPUs that have them; `fp64`: for checking.
    """
    if precision not in PRECISIONS:
        raise ConfigError(f"precision is {precision!r}; it must be one of {', '.join(PRECISIONS)}")
    products = "tf32" if precision == "tf32" else "ieee"
    torch.backends.cuda.matmul.fp32_precision = products
    torch.backends.cudnn.conv.fp32_precision = products  # type: ignore[attr-defined]
    torch.backends.cudnn.benchmark = True  # shapes change only while a batch fills, and at a dataset's end
    return torch.float64 if precision == "fp64" else torch.float32
