"""Tells which workers a run on this machine would have: how many, on what, with how many threads."""

from __future__ import annotations

from dataclasses import dataclass

from i2s_batch.config import RunConfig
from i2s_batch.diagnosis.asked import Asked, Known
from i2s_batch.embedding.embed_run import IMAGE_BYTES_PER_PIXEL
from i2s_batch.inversion.batch_size import GPU_BATCH_SIZES, cpu_batch_size
from i2s_batch.models import GeneratorWeights, VGGWeights
from i2s_batch.plurals import counted
from i2s_batch.run.execution import WORKER_BYTES

_SHARE = 0.7  # of the free memory that Ray hands out to workers


@dataclass(frozen=True)
class Workers:
    """Describes the workers of a run; `threads` None leaves PyTorch's choice."""

    count: int
    device: str
    threads: int | None = None

    @property
    def described(self) -> str:
        """Return them in words."""
        each = "" if self.threads is None else f" of {counted(self.threads, 'thread')}"
        where = "GPU" if self.device == "cuda" else "CPU"
        return f"{counted(self.count, 'worker')}{each} on {where}"

    def most_slots(self, images: int | None) -> int:
        """Return the most images of a batch, so that all workers have some of those that there are."""
        most = GPU_BATCH_SIZES[-1]
        return most if images is None else max(1, min(most, -(-images // self.count)))


def expected_workers(asked: Asked, known: Known, generator: GeneratorWeights, vgg: VGGWeights) -> Workers:
    """Return the workers of a run on this machine alone."""
    import torch

    config, images = asked.config, None if known.images is None else known.images.num_rows
    has_gpu = config.device != "cpu" and torch.cuda.is_available()
    if has_gpu:
        asked_for = 1 if config.in_process else config.actors or torch.cuda.device_count()
        return Workers(asked_for if images is None else min(asked_for, images), "cuda")
    if config.in_process:
        return Workers(1, "cpu")
    cores = max(1, int(known.cores))
    count = config.actors or max(1, min(cores, _fitting(config, known.memory_bytes, generator, vgg)))
    count = count if images is None else min(count, images)
    return Workers(count, "cpu", max(1, cores // count))


def _fitting(config: RunConfig, free_bytes: int | None, generator: GeneratorWeights, vgg: VGGWeights) -> int:
    """Return how many workers the memory has room for."""
    if free_bytes is None:
        return 1 << 20
    resolution = generator.settings.resolution
    networks = sum(each.nbytes for part in (generator, vgg) for each in part.tensors.values())
    images = config.batch_size or cpu_batch_size(resolution)
    return int(_SHARE * free_bytes) // (WORKER_BYTES + networks + images * IMAGE_BYTES_PER_PIXEL * resolution**2)
