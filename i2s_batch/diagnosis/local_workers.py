"""Tells which workers a run on this machine would have: how many, on what, with how many threads."""

from __future__ import annotations

from i2s_batch.config import RunConfig
from i2s_batch.diagnosis.asked import Asked, Known
from i2s_batch.diagnosis.workers import Workers
from i2s_batch.embedding.embed_run import IMAGE_BYTES_PER_PIXEL
from i2s_batch.inversion.batch_size import cpu_batch_size
from i2s_batch.models import GeneratorWeights, VGGWeights
from i2s_batch.run.chosen import is_one_worker_enough
from i2s_batch.run.execution import WORKER_BYTES
from i2s_batch.run.ray.given import ray_is_installed

_SHARE = 0.7  # of the free memory that Ray hands out to workers


def expected_workers(asked: Asked, known: Known, generator: GeneratorWeights, vgg: VGGWeights) -> Workers:
    """Return the workers of a run on this machine alone."""
    import torch

    config, images = asked.config, None if known.images is None else known.images.num_rows
    has_gpu = config.device != "cpu" and torch.cuda.is_available()
    device = "cuda" if has_gpu else "cpu"
    if works_in_process(config, device):
        return Workers(1, device)
    if has_gpu:
        asked_for = config.actors or torch.cuda.device_count()
        return Workers(asked_for if images is None else min(asked_for, images), device)
    cores = max(1, int(known.cores))
    count = config.actors or max(1, min(cores, _fitting(config, known.memory_bytes, generator, vgg)))
    count = count if images is None else min(count, images)
    return Workers(count, "cpu", max(1, cores // count))


def works_in_process(config: RunConfig, device: str) -> bool:
    """Return whether a run of some length works in its command's own process, where no cluster is given."""
    if config.in_process is not None:
        return config.in_process
    return is_one_worker_enough(config, device) or not ray_is_installed()


def _fitting(config: RunConfig, free_bytes: int | None, generator: GeneratorWeights, vgg: VGGWeights) -> int:
    """Return how many workers the memory has room for."""
    if free_bytes is None:
        return 1 << 20
    resolution = generator.settings.resolution
    networks = sum(each.nbytes for part in (generator, vgg) for each in part.tensors.values())
    images = config.batch_size or cpu_batch_size(resolution)
    return int(_SHARE * free_bytes) // (WORKER_BYTES + networks + images * IMAGE_BYTES_PER_PIXEL * resolution**2)
