"""What would be learned of the linear "generator", without learning it."""

from __future__ import annotations

import torch

from i2s_batch.config import LossWeights
from i2s_batch.inversion.learned import Learned, pooled_features
from tests.inversion.linear import LinearGenerator, features


def residual_matrix(generator: LinearGenerator, weights: LossWeights) -> torch.Tensor:
    """J of the residuals r(w) of which the loss is the sum of squares: exact, since everything is linear."""

    def residuals(latent: torch.Tensor) -> torch.Tensor:
        images = generator.synthesize(latent[None])
        outputs = [images, *features(images)]
        scaled = [
            output.flatten() * (weight / output.numel()) ** 0.5
            for output, weight in zip(outputs, vars(weights).values(), strict=True)
        ]
        return torch.cat(scaled)

    origin = torch.zeros(generator.num_layers, generator.w_dim, dtype=torch.float64)
    return torch.autograd.functional.jacobian(residuals, origin).flatten(1)


def learned_of(generator: LinearGenerator, weights: LossWeights = LossWeights(), seed: int = 0) -> Learned:  # noqa: B008
    """The exact blocks; a start that is right for latents that are the same in every layer; a covariance of its own."""
    jacobian = residual_matrix(generator, weights)
    layers, w_dim = generator.num_layers, generator.w_dim
    whole = (jacobian.T @ jacobian).reshape(layers, w_dim, layers, w_dim)
    stream = torch.Generator().manual_seed(seed)
    w = generator.w_avg + torch.randn(400, w_dim, generator=stream, dtype=torch.float64)
    images = generator.synthesize(w[:, None].expand(-1, layers, -1))
    inputs = pooled_features(images, features(images))
    mean = w.mean(0)
    coefficients = torch.linalg.lstsq(inputs - inputs.mean(0), w - mean, driver="gelsd").solution
    spread = (w - mean).T @ (w - mean) / len(w)
    return Learned(
        generator="",
        vgg="",
        weights=weights,
        blocks=torch.stack([whole[layer, :, layer] for layer in range(layers)]).float(),
        covariance=spread.float(),
        feature_mean=inputs.mean(0).float(),
        feature_scale=torch.ones(inputs.shape[1]),
        coefficients=coefficients.float(),
        start_mean=mean.float(),
        samples=1,
        origin="exact",
    )
