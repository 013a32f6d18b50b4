"""Holds what is learned once for a generator, so that its images need fewer steps: curvature, start and prior.

Three things, all averages over the generator's own samples (and other images, if they were given):

- the Gauss-Newton blocks B_l = E[J_l' J_l], one matrix for each layer of W+, of the residuals whose squares the loss
  sums. 2 B is an approximation of the Hessian of the loss that holds for every image to a large part; Wang and Ponce
  (ICLR 2021) showed that the metric of a generator's latent space is much the same everywhere;
- a ridge regression from pooled pixels and feature maps of an image to its latent: the start;
- the covariance C of w: M = tr(C) / w_dim (C + 0.01 c_1 I)^-1, with the largest eigenvalue c_1 of C, measures how
  unlikely a latent is.

`encoders.learning` makes them, `encoders.learned_file` reads and writes them. An instance belongs to one generator, VGG
and set of loss weights.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F

from i2s_batch.config import LossWeights
from i2s_batch.errors import ConfigError

# Sides to which pixels and feature maps are averaged before the regression.
PIXELS_SIDE = 16
FEATURES_SIDE = 4
# Of the largest eigenvalue of the blocks: directions that hardly matter must not be followed far.
DAMPING = 3e-4
# Of the largest eigenvalue of the covariance, the same for the prior.
COVARIANCE_DAMPING = 0.01
# A start is at most this many times as far from the mean latent as the samples are (root mean square).
LONGEST_START = 1.5


@dataclass(frozen=True)
class Learned:
    """Holds the learned arrays, float32 on the CPU.

    Attributes:
        generator: The fingerprint of the generator.
        vgg: The fingerprint of the VGG-16.
        weights: The loss weights.
        blocks: B, [L, w_dim, w_dim].
        covariance: C, [w_dim, w_dim].
        feature_mean: The mean of the features, [F].
        feature_scale: The reciprocal of their deviation, [F].
        coefficients: Of the ridge regression, [F, w_dim].
        start_mean: What the regression adds to, [w_dim].
        samples: Latents from which the blocks were averaged.
        origin: How it was learned, for people.
        fingerprint: The sha256 of the file, hex; empty unless it was read from one.
    """

    generator: str
    vgg: str
    weights: LossWeights
    blocks: torch.Tensor
    covariance: torch.Tensor
    feature_mean: torch.Tensor
    feature_scale: torch.Tensor
    coefficients: torch.Tensor
    start_mean: torch.Tensor
    samples: int
    origin: str
    fingerprint: str = ""

    def check(self, generator: str, vgg: str, weights: LossWeights) -> None:
        """Raise ConfigError unless it was learned for this generator, VGG-16 (fingerprints) and loss weights."""
        for what, own, given in (("generator", self.generator, generator), ("VGG-16", self.vgg, vgg)):
            if own != given:
                pair = f"it was learned for the {what} {own[:12]}..., not {given[:12]}..."
                raise ConfigError(f"the learned file does not belong to this {what}: {pair}; make one with learn")
        if self.weights != weights:
            pair = f"{_worded(self.weights)}, not {_worded(weights)}"
            raise ConfigError(f"the learned file belongs to other loss weights: {pair}; make one with learn")

    def prior_matrix(self) -> torch.Tensor:
        """Return M, the regularised and scaled inverse of the covariance: float64 [w_dim, w_dim]."""
        covariance = self.covariance.double()
        largest = torch.linalg.eigvalsh(covariance)[-1]
        one = torch.eye(len(covariance), dtype=torch.float64)
        inverse = torch.linalg.inv(covariance + COVARIANCE_DAMPING * largest * one)
        matrix: torch.Tensor = covariance.trace() / len(covariance) * inverse
        return matrix

    def start_matrix(self, prior: float) -> torch.Tensor:
        """Return the inverse of the expected Hessian, with the prior's: float64 [L, w_dim, w_dim]."""
        blocks = self.blocks.double()
        layers, w_dim, _ = blocks.shape
        damping = DAMPING * torch.linalg.eigvalsh(blocks)[:, -1].max()
        one = torch.eye(w_dim, dtype=torch.float64)
        hessian = 2 * blocks + 2 * damping * one + 2 * prior / (layers * w_dim) * self.prior_matrix()
        matrix: torch.Tensor = torch.linalg.inv(hessian)
        return matrix

    def start(self, target: torch.Tensor, features: Sequence[torch.Tensor], w_avg: torch.Tensor) -> torch.Tensor:
        """Return the predicted latents [B, w_dim] of images [B, 3, R, R] in [-1, 1], with their feature maps."""
        pooled, mean = pooled_features(target, features).double(), w_avg.double()
        feature_mean, feature_scale, coefficients, start_mean = (
            each.to(mean) for each in (self.feature_mean, self.feature_scale, self.coefficients, self.start_mean)
        )
        offset = start_mean + ((pooled - feature_mean) * feature_scale) @ coefficients - mean
        longest = LONGEST_START * self.covariance.double().trace().sqrt().to(mean)
        length = offset.norm(dim=1, keepdim=True).clamp_min(torch.finfo(torch.float64).tiny)
        predicted: torch.Tensor = mean + offset * (longest / length).clamp_max(1.0)
        return predicted.to(target.dtype)


def pooled_features(target: torch.Tensor, features: Sequence[torch.Tensor]) -> torch.Tensor:
    """Return the features of the regression, [B, F]: means of the pixels and of the feature maps over a coarse grid."""
    pixels = _pooled(target, PIXELS_SIDE)
    return torch.cat([pixels, *(_pooled(each.to(target.dtype), FEATURES_SIDE) for each in features)], dim=1)


def _pooled(maps: torch.Tensor, side: int) -> torch.Tensor:
    height, width = maps.shape[2:]
    return F.adaptive_avg_pool2d(maps, (min(side, height), min(side, width))).flatten(1)


def _worded(weights: LossWeights) -> str:
    return ", ".join(f"{name} {value:g}" for name, value in vars(weights).items())


@dataclass(frozen=True)
class Prior:
    """Computes weight (w - w_avg)' M (w - w_avg) / (L w_dim), summed over the layers, of each image.

    Attributes:
        weight: The weight.
        matrix: M, [w_dim, w_dim].
        mean: w_avg, [w_dim].
    """

    weight: float
    matrix: torch.Tensor
    mean: torch.Tensor

    def __call__(self, ws: torch.Tensor) -> torch.Tensor:
        """Return the penalty [B] of W+ latents [B, L, w_dim]."""
        offset = ws - self.mean
        return self.weight * ((offset @ self.matrix) * offset).flatten(1).mean(1)


def prior_of(weight: float, learned: Learned | None, like: torch.Tensor) -> Prior | None:
    """Return the penalty of that weight, about the mean latent `like`; None if the weight is 0."""
    if not weight:
        return None
    assert learned is not None
    return Prior(weight, learned.prior_matrix().to(like), like.detach())
