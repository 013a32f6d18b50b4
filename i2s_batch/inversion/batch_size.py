"""How many images to embed side by side when the user does not say."""

from __future__ import annotations

import numpy as np
import torch

from i2s_batch.config import EmbedConfig
from i2s_batch.inversion.embedder import Embedder
from i2s_batch.inversion.loss import Features
from i2s_batch.inversion.spaces import GeneratorLike

# On a CPU one image fills the cores from 256 pixels on, and more only fall out of its caches; below, two are
# faster than one (README, Speed).
CPU_PAIR_RESOLUTION = 128
GPU_BATCH_SIZE_LIMIT = 16
# What is left to the allocator's fragments and to the metrics.
MEMORY_FRACTION = 0.8


def choose_batch_size(generator: GeneratorLike, features: Features, config: EmbedConfig) -> int:
    """A batch size that fits: on a GPU from the measured memory of one step of one image."""
    device = generator.w_avg.device
    if device.type != "cuda":
        return 2 if generator.resolution <= CPU_PAIR_RESOLUTION else 1
    free, _ = torch.cuda.mem_get_info(device)
    torch.cuda.reset_peak_memory_stats(device)
    before = torch.cuda.memory_allocated(device)
    embedder = Embedder(generator, features, config)
    embedder.put("probe", np.zeros((generator.resolution, generator.resolution, 3), np.uint8))
    embedder.advance(stop=lambda: True)
    an_image = torch.cuda.max_memory_allocated(device) - before
    return max(1, min(GPU_BATCH_SIZE_LIMIT, int(free * MEMORY_FRACTION / an_image)))
