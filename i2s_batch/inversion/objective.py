"""Computes the loss of a batch and its gradient with respect to the latents."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch

from i2s_batch.inversion.learned import Prior
from i2s_batch.inversion.loss import Features, loss_terms
from i2s_batch.inversion.spaces import LatentSpace

# (variable, target, target features) -> (gradient, terms [B, 5], loss [B])
Evaluate = Callable[[torch.Tensor, torch.Tensor, list[torch.Tensor]], tuple[torch.Tensor, torch.Tensor, torch.Tensor]]


@dataclass(frozen=True)
class Objective:
    """Computes the loss of the paper's eq. (1) for each image of a batch.

    Attributes:
        synthesis: W+ latents [B, L, w_dim] -> images [B, 3, R, R].
        features: The perceptual network.
        space: The latent space of the variables.
        weights: The loss weights [5], or with a prior [6], of which the last is 1.
        prior: The penalty on unlikely latents, which is then a sixth term.
    """

    synthesis: Callable[[torch.Tensor], torch.Tensor]
    features: Features
    space: LatentSpace
    weights: torch.Tensor
    prior: Prior | None = None

    def losses(
        self, variable: torch.Tensor, target: torch.Tensor, target_features: list[torch.Tensor]
    ) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """Return the sum over the batch, the terms [B, 5] (with a prior 6) and the loss [B] of each image.

        The sum over images: each image's gradient is that of its own loss.
        """
        ws = self.space.to_ws(variable)
        images = self.synthesis(ws)
        terms = loss_terms(images, target, self.features(images), target_features)
        if self.prior is not None:
            terms = torch.cat([terms, self.prior(ws)[:, None].to(terms.dtype)], dim=1)
        loss = terms @ self.weights
        return loss.sum(), terms, loss


def evaluate(
    losses: Callable[..., tuple[torch.Tensor, torch.Tensor, torch.Tensor]],
    variable: torch.Tensor,
    target: torch.Tensor,
    target_features: list[torch.Tensor],
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Return the gradient of `Objective.losses`, plain or compiled, its terms and its loss."""
    with torch.enable_grad():
        leaf = variable.detach().requires_grad_()
        total, terms, loss = losses(leaf, target, target_features)
        (gradient,) = torch.autograd.grad(total, leaf)
    return gradient, terms.detach(), loss.detach()
