"""Learns curvature, start and prior of a generator, in batches whose results are kept, so that it can be resumed."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import partial

import numpy as np
import torch

from i2s_batch.argument_types import check_fields
from i2s_batch.config import EmbedConfig, LossWeights
from i2s_batch.encoders.curvature import PROBES, covariance_of, gauss_newton_blocks
from i2s_batch.encoders.kept_batches import KeptBatches
from i2s_batch.encoders.regression import fit_ridge
from i2s_batch.encoders.samples import mapped, mixed_samples, plain_samples
from i2s_batch.errors import ConfigError
from i2s_batch.inversion.initialisation import random_generator_for
from i2s_batch.inversion.learned import Learned, pooled_features
from i2s_batch.inversion.metrics import from_uint8, to_uint8
from i2s_batch.models import VGG16, Generator

# Samples of w for its covariance, which need no images.
COVARIANCE_SAMPLES = 10_000
# Latents of a batch whose result is kept: what an interruption costs at most.
KEPT_SAMPLES = 64
KEPT_LATENTS = 8
# The presets' settings in which a learned file is used, for the figures on held-out samples.
FAST = EmbedConfig(optimizer="lbfgs-learned", init="learned", prior=1e-3, steps=50, batch_size=1)

# (done, total, what is done now)
Progress = Callable[[int, int, str], None]


@dataclass(frozen=True)
class LearnConfig:
    """Holds how a generator is learned.

    Attributes:
        samples: Samples of the generator from which the start is learned.
        latents: Latents at which the curvature is measured, at `PROBES` probes each; None takes 1.6 probes for each
            coordinate of a layer, at least 64 latents.
        ridge: The penalty on the coefficients of the regression.
        held_out: Samples on which the result is tried at the end.
        seed: Seed of everything that is drawn at random.
        batch_size: Images that are computed at once; makes no difference beyond rounding.
        loss_weights: The weights of the loss terms.
    """

    samples: int = 4000
    latents: int | None = None
    ridge: float = 100.0
    held_out: int = 8
    seed: int = 0
    batch_size: int = 8
    loss_weights: LossWeights = field(default_factory=LossWeights)

    def __post_init__(self) -> None:
        check_fields(self)
        limits = (("samples", 2, 20_000), ("held_out", 0, 1000), ("batch_size", 1, 1024), ("seed", 0, 2**63 - 1))
        for name, least, most in limits:
            value = getattr(self, name)
            if not least <= value <= most:
                words = name.replace("_", " ")
                raise ConfigError(f"{words} is {value}; it must be between {least} and {most}")
        if self.latents is not None and not 1 <= self.latents <= 100_000:
            raise ConfigError(f"latents is {self.latents}; it must be between 1 and 100000")
        if not 0 < self.ridge < math.inf:
            raise ConfigError(f"ridge is {self.ridge}; it must be finite and above 0")

    def latents_for(self, w_dim: int) -> int:
        """Return the number of latents at which the curvature is measured, for a layer's latent of this size."""
        return max(64, math.ceil(1.6 * w_dim / PROBES)) if self.latents is None else self.latents


@dataclass(frozen=True)
class HeldOut:
    """Holds figures on samples that nothing was learned from.

    Attributes:
        start_error: The squared error of the predicted latents, as a part of the variance of w.
        loss_at_mean: The median loss at the mean latent.
        loss_at_start: The median loss at the predicted latents.
        loss_after: The median loss after `FAST.steps` steps.
    """

    start_error: float
    loss_at_mean: float
    loss_at_start: float
    loss_after: float


def learn(
    generator: Generator,
    features: VGG16,
    config: LearnConfig,
    known: np.ndarray | None = None,
    kept: KeptBatches | None = None,
    progress: Progress = lambda done, total, what: None,
) -> Learned:
    """Learn what `Learned` holds for a generator, a VGG-16 and loss weights.

    Args:
        generator: The generator.
        features: The perceptual network.
        config: The settings.
        known: Latents [N, L, w_dim] of images that were embedded before: the curvature is measured there, too, and
            counts as much as that of the samples.
        kept: Where results of batches are kept; None keeps them in memory.
        progress: Called after each batch.
    """
    return _Learning(generator, features, config, known, kept or KeptBatches(None), progress).run()


class _Learning:
    def __init__(
        self,
        generator: Generator,
        features: VGG16,
        config: LearnConfig,
        known: np.ndarray | None,
        kept: KeptBatches,
        progress: Progress,
    ) -> None:
        self._generator, self._features, self._config = generator, features, config
        self._kept, self._progress = kept, progress
        self._known = known
        stream = random_generator_for(config.seed, "covariance")
        w = mapped(generator, COVARIANCE_SAMPLES, stream)
        self._covariance = covariance_of(w, generator.w_avg)
        self._latents = config.latents_for(generator.w_dim)
        known_count = 0 if known is None else len(known)
        self._total = config.samples + self._latents * PROBES + known_count * PROBES
        self._done = 0

    def run(self) -> Learned:
        regression = fit_ridge(*self._regression_data(), self._config.ridge)
        blocks = self._blocks(self._sampled_batches())
        count = self._latents
        if self._known is not None and len(self._known):
            blocks = (blocks + self._blocks(self._known_batches(self._known))) / 2
            count += len(self._known)
        return Learned(
            generator=self._generator.fingerprint,
            vgg=self._features.fingerprint,
            weights=self._config.loss_weights,
            blocks=torch.from_numpy(blocks.astype(np.float32)),
            covariance=torch.from_numpy(self._covariance.astype(np.float32)),
            feature_mean=torch.from_numpy(regression.feature_mean),
            feature_scale=torch.from_numpy(regression.feature_scale),
            coefficients=torch.from_numpy(regression.coefficients),
            start_mean=torch.from_numpy(regression.mean),
            samples=count,
            origin=self._origin(),
        )

    def _origin(self) -> str:
        config = self._config
        known = "" if self._known is None else f" and {len(self._known)} known latents"
        return f"{config.samples} samples, curvature at {self._latents} latents{known}, seed {config.seed}"

    def _advanced(self, count: int, what: str) -> None:
        self._done += count
        self._progress(self._done, self._total, what)

    def _regression_data(self) -> tuple[np.ndarray, np.ndarray]:
        """Return the features [N, F] and latents [N, w_dim] of the samples."""
        features, latents = [], []
        for number, count in enumerate(_sizes(self._config.samples, KEPT_SAMPLES)):
            kept = self._kept.get(f"samples-{number:05d}", partial(self._sampled, number, count))
            features.append(kept["features"])
            latents.append(kept["latents"])
            self._advanced(count, "start")
        return np.concatenate(features), np.concatenate(latents)

    def _sampled(self, number: int, count: int) -> dict[str, np.ndarray]:
        w = plain_samples(self._generator, count, self._config.seed, number)
        pooled = [self._pooled(part) for part in w.split(self._config.batch_size)]
        return {"features": np.concatenate(pooled), "latents": w.float().cpu().numpy()}

    def _pooled(self, w: torch.Tensor) -> np.ndarray:
        pixels, maps = pictured(self._generator, self._features, w)
        return pooled_features(pixels, maps).float().cpu().numpy()

    def _sampled_batches(self) -> Iterator[tuple[str, int, Callable[[], torch.Tensor]]]:
        deviation = torch.from_numpy(np.sqrt(np.diag(self._covariance))).to(self._generator.w_avg)
        for number, count in enumerate(_sizes(self._latents, KEPT_LATENTS)):
            make = partial(mixed_samples, self._generator, count, deviation, self._config.seed, number)
            yield f"curvature-{number:05d}", count, make

    def _known_batches(self, known: np.ndarray) -> Iterator[tuple[str, int, Callable[[], torch.Tensor]]]:
        for number, start in enumerate(range(0, len(known), KEPT_LATENTS)):
            part = torch.from_numpy(known[start : start + KEPT_LATENTS])
            yield f"known-{number:05d}", len(part), partial(part.to, self._generator.w_avg)

    def _blocks(self, batches: Iterator[tuple[str, int, Callable[[], torch.Tensor]]]) -> np.ndarray:
        """Return the mean of the blocks over batches, float64 [L, w_dim, w_dim]."""
        total, count = np.zeros(1), 0
        for label, size, make in batches:
            total = total + self._kept.get(label, partial(self._probed, label, make))["blocks"]
            count += size * PROBES
            self._advanced(size * PROBES, "curvature")
        return total / count

    def _probed(self, label: str, make: Callable[[], torch.Tensor]) -> dict[str, np.ndarray]:
        config, ws = self._config, make()
        parts = [
            gauss_newton_blocks(self._generator, self._features, config.loss_weights, part, config.seed, f"{label} {i}")
            for i, part in enumerate(ws.split(config.batch_size))
        ]
        return {"blocks": torch.stack(parts).sum(0).float().cpu().numpy()}


def _sizes(total: int, most: int) -> Sequence[int]:
    return [min(most, total - start) for start in range(0, total, most)]


def pictured(generator: Generator, features: VGG16, w: torch.Tensor) -> tuple[torch.Tensor, Sequence[torch.Tensor]]:
    """Return the 8-bit images of latents [B, w_dim], as [B, 3, R, R] in [-1, 1], and their feature maps."""
    with torch.no_grad():
        images = generator.synthesize(w[:, None].expand(-1, generator.num_layers, -1))
        pixels = torch.stack([from_uint8(to_uint8(image), generator.w_avg) for image in images])
        return pixels, features(pixels)
