"""i2s_batch: whole datasets of pictures into StyleGAN W+ latent codes (Image2StyleGAN), on Ray, into Parquet."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from i2s_batch.config import EmbedConfig

if TYPE_CHECKING:
    from i2s_batch.api.sampling import sample
    from i2s_batch.inversion import Embedder
    from i2s_batch.models.loading import load_generator, load_vgg
    from i2s_batch.table.arrays import iter_latents, read_latents
    from i2s_batch.table.torch_dataset import LatentDataset, LatentStream

__all__ = [
    "EmbedConfig",
    "Embedder",
    "LatentDataset",
    "LatentStream",
    "iter_latents",
    "load_generator",
    "load_vgg",
    "read_latents",
    "sample",
]

# Loaded when first asked for, so that `import i2s_batch` needs neither torch nor pyarrow.
_HOMES = {
    "Embedder": "i2s_batch.inversion",
    "LatentDataset": "i2s_batch.table.torch_dataset",
    "LatentStream": "i2s_batch.table.torch_dataset",
    "iter_latents": "i2s_batch.table.arrays",
    "load_generator": "i2s_batch.models.loading",
    "load_vgg": "i2s_batch.models.loading",
    "read_latents": "i2s_batch.table.arrays",
    "sample": "i2s_batch.api.sampling",
}


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(_HOMES[name]), name)
