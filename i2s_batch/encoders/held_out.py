"""Tries what was learned on samples of the generator that nothing was learned from."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from statistics import median

import torch

from i2s_batch.config import EmbedConfig
from i2s_batch.encoders.learning import FAST, HeldOut, LearnConfig, pictured
from i2s_batch.encoders.samples import plain_samples
from i2s_batch.inversion import Embedder, EmbedResult
from i2s_batch.inversion.learned import Learned
from i2s_batch.inversion.metrics import to_uint8
from i2s_batch.models import VGG16, Generator

# No batch that is learned from has this number: their seeds are others.
_NUMBER = -1


def tried(generator: Generator, features: VGG16, learned: Learned, config: LearnConfig) -> HeldOut:
    """Return the figures on `config.held_out` samples, at least one."""
    w = plain_samples(generator, config.held_out, config.seed, _NUMBER)
    images = [to_uint8(image) for image in _images(generator, w)]
    start = torch.cat([learned.start(*pictured(generator, features, each), generator.w_avg) for each in w.split(1)])
    error = (start - w).double().square().sum(1).mean() / learned.covariance.double().trace()
    size = min(config.batch_size, config.held_out)
    usual = EmbedConfig(steps=1, loss_weights=config.loss_weights, batch_size=size)
    fast = replace(FAST, loss_weights=config.loss_weights, batch_size=size)
    at_mean = list(Embedder(generator, features, usual).embed(images))
    embedded = list(Embedder(generator, features, fast, learned=learned).embed(images))
    return HeldOut(
        start_error=float(error),
        loss_at_mean=_median(at_mean, 0),
        loss_at_start=_median(embedded, 0),
        loss_after=_median(embedded, -1),
    )


def _images(generator: Generator, w: torch.Tensor) -> list[torch.Tensor]:
    with torch.no_grad():
        return [generator.synthesize(each[:, None].expand(-1, generator.num_layers, -1))[0] for each in w.split(1)]


def _median(results: Sequence[EmbedResult], index: int) -> float:
    """Return the median over images of one value of the loss curve; infinite where the loss was not finite."""
    values = [float(each.curve[index]) for each in results]
    return median(value if math.isfinite(value) else math.inf for value in values)
