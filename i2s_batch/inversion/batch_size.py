"""Chooses how many images are embedded in a batch when the user does not."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import replace

import numpy as np
import torch

from i2s_batch.config import EmbedConfig
from i2s_batch.inversion.embedder import Embedder
from i2s_batch.inversion.learned import Learned
from i2s_batch.inversion.loss import Features
from i2s_batch.inversion.spaces import GeneratorLike

# On a CPU one image fills the cores from 256 pixels on, and more images only overflow its caches; up to this resolution
# four are faster than two, and two than one (docs/speed.md).
CPU_BATCH_RESOLUTION = 128
CPU_BATCH_SIZE = 4
# A step that runs as a graph gains less than 3 % from more images, and computes its slots whether they are busy or not.
GRAPH_BATCH_SIZE = 16
# On a GPU without a graph the batch size is measured, among these.
GPU_BATCH_SIZES = (1, 2, 4, 8, 16, 32)
# Gain in seconds a step and image for which the batch is doubled: a smaller one is not worth twice the images that
# are lost back to their last checkpoint when the worker dies.
MINIMUM_GAIN = 0.03
TIMED_STEPS = 4
# The rest is left to the fragmentation of the allocator and to the metrics.
MEMORY_FRACTION = 0.8


def cpu_batch_size(resolution: int) -> int:
    """Return the batch size that is fastest without a GPU, for a generator of this resolution."""
    return CPU_BATCH_SIZE if resolution <= CPU_BATCH_RESOLUTION else 1


def fastest_batch_size(seconds: Callable[[int], float], limit: int) -> int:
    """Return the batch size with the fastest step of an image, at most `limit`.

    The batch is doubled for as long as it fits and makes the step of an image faster by `MINIMUM_GAIN`.

    Args:
        seconds: Returns the seconds of a step and image with so many images in a batch; raises torch.OutOfMemoryError
            if they do not fit.
        limit: The largest batch that is tried.
    """
    best, best_seconds = 1, float("inf")
    for size in GPU_BATCH_SIZES:
        if size > limit:
            break
        try:
            measured = seconds(size)
        except torch.OutOfMemoryError:
            break
        if measured > best_seconds * (1 - MINIMUM_GAIN):
            break
        best, best_seconds = size, measured
    return best


def step_seconds(
    generator: GeneratorLike, features: Features, config: EmbedConfig, batch_size: int, learned: Learned | None = None
) -> float:
    """Measure the seconds of a step and image with `batch_size` black images in a batch.

    The step is the plain one: each batch size would have to be compiled. `learned`: what the settings may need.

    Raises:
        torch.OutOfMemoryError: The images take more than `MEMORY_FRACTION` of the device's free memory.
    """
    device = generator.w_avg.device
    on_gpu = device.type == "cuda"
    if on_gpu:
        torch.cuda.empty_cache()
        free, _ = torch.cuda.mem_get_info(device)
        torch.cuda.reset_peak_memory_stats(device)
        before = torch.cuda.memory_allocated(device)
    timed = replace(config, batch_size=batch_size, compile=False, steps=10 * TIMED_STEPS)
    embedder = Embedder(generator, features, timed, learned=learned)
    for position in range(batch_size):
        embedder.put(str(position), np.zeros((generator.resolution, generator.resolution, 3), np.uint8))
    # One step more than is timed: the first one warms up, and is never the fastest.
    seconds = min(_timed(embedder, device) for _ in range(1 + TIMED_STEPS))
    if on_gpu and torch.cuda.max_memory_allocated(device) - before > MEMORY_FRACTION * free:
        raise torch.OutOfMemoryError(f"{batch_size} images take more than {MEMORY_FRACTION:.0%} of the free memory")
    if embedder.capacity < batch_size:
        raise torch.OutOfMemoryError(f"{embedder.capacity} of {batch_size} images fit")
    return seconds / batch_size


def _timed(embedder: Embedder, device: torch.device) -> float:
    """Return the seconds of one step of all slots."""
    began = time.perf_counter()
    embedder.advance(stop=lambda: True)
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    return time.perf_counter() - began
