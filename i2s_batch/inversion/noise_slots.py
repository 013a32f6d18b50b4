"""Optimises the noise maps of several images in a batch, with the latents fixed. No image knows of its neighbours.

The steps are plain ones: the fused operators of the compiled step give no gradient of the noise.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch

from i2s_batch.config import EmbedConfig
from i2s_batch.inversion.adam import Adam
from i2s_batch.inversion.loss import Features, loss_terms, loss_weight_vector
from i2s_batch.inversion.noise_penalty import distance_penalty
from i2s_batch.inversion.noise_state import NoiseState
from i2s_batch.inversion.spaces import NoiseGenerator

# What is joined and dropped together, one image each.
_TENSORS = ("maps", "m", "v", "step", "finite", "ws", "target")


@dataclass(frozen=True)
class NoiseObjective:
    """Computes the loss of images with noise maps of their own: eq. (1) of the paper, and the penalty beside it.

    Attributes:
        generator: The generator.
        features: The perceptual network.
        weights: The loss weights [5].
        penalty_weight: The weight of the penalty.
    """

    generator: NoiseGenerator
    features: Features
    weights: torch.Tensor
    penalty_weight: float

    def losses(
        self, maps: torch.Tensor, ws: torch.Tensor, target: torch.Tensor, target_features: Sequence[torch.Tensor]
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Return the sum over the batch with the penalty, and the loss [B] of each image without it."""
        images = self.generator.synthesize_with_noise(ws, maps)
        loss = loss_terms(images, target, self.features(images), target_features) @ self.weights
        penalty = distance_penalty(maps, self.generator.stored_noise)
        return (loss + self.penalty_weight * penalty).sum(), loss

    def gradient(
        self, maps: torch.Tensor, ws: torch.Tensor, target: torch.Tensor, target_features: Sequence[torch.Tensor]
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Return the gradient with respect to the maps [B, N], and the loss [B] of each image."""
        with torch.enable_grad():
            leaf = maps.detach().requires_grad_()
            total, loss = self.losses(leaf, ws, target, target_features)
            (gradient,) = torch.autograd.grad(total, leaf)
        return gradient, loss.detach()


class NoiseSlots:
    """Holds B images in a batch, as many as there are. All tensors have the image as their first dimension.

    Attributes:
        maps: [B, N], the noise maps.
        m: [B, N], Adam's mean of the gradients.
        v: [B, N], Adam's mean of their squares.
        step: [B] int64, updates made.
        finite: [B] bool, whether every loss so far was finite.
        ws: [B, L, w_dim], the latents.
        target: [B, 3, R, R] in [-1, 1].
        target_features: The feature maps of the targets.
    """

    maps: torch.Tensor
    m: torch.Tensor
    v: torch.Tensor
    step: torch.Tensor
    finite: torch.Tensor
    ws: torch.Tensor
    target: torch.Tensor

    def __init__(self, generator: NoiseGenerator, features: Features, config: EmbedConfig, most: int) -> None:
        """Prepare no slots; `most` bounds the images whose gradients are computed at once."""
        weights = loss_weight_vector(config.loss_weights, generator.w_avg)
        self.objective = NoiseObjective(generator, features, weights, config.noise_penalty)
        self._adam = Adam(config.noise_learning_rate, config.beta1, config.beta2, config.epsilon)
        self._steps, self._most = config.noise_steps, most
        self.target_features: list[torch.Tensor] = []
        self.size = 0

    def add(self, ws: torch.Tensor, target: torch.Tensor, state: NoiseState | None) -> None:
        """Add an image, latent [L, w_dim] and target [3, R, R], from `state` or from the stored noise."""
        stored = self.objective.generator.stored_noise
        if state is None:
            maps, m, v, step = stored.clone(), torch.zeros_like(stored), torch.zeros_like(stored), 0
        else:
            maps, m, v = (torch.from_numpy(a.copy()).to(stored) for a in (state.maps, state.m, state.v))
            step = state.step
        flags = {"step": torch.tensor(step), "finite": torch.tensor(True)}
        fresh = {"maps": maps, "m": m, "v": v, "ws": ws, "target": target} | flags
        fresh = {name: value[None].to(stored.device) for name, value in fresh.items()}
        with torch.no_grad():
            fresh_features = [each.detach() for each in self.objective.features(fresh["target"])]
        if self.size:
            fresh = {name: torch.cat([getattr(self, name), value]) for name, value in fresh.items()}
            pairs = zip(self.target_features, fresh_features, strict=True)
            fresh_features = [torch.cat(pair) for pair in pairs]
        vars(self).update(fresh)
        self.target_features, self.size = fresh_features, self.size + 1

    def keep(self, positions: Sequence[int]) -> None:
        """Drop every image that is not in `positions`."""
        index = torch.tensor(positions, device=self.maps.device, dtype=torch.long)
        vars(self).update({name: getattr(self, name)[index] for name in _TENSORS})
        self.target_features = [each[index] for each in self.target_features]
        self.size = len(positions)

    def advance(self) -> None:
        """Make one update of every image whose losses were finite so far. No host sync.

        Where the device's memory is not enough, fewer images are computed at once, from now on.

        Raises:
            torch.OutOfMemoryError: The memory is not enough for one image.
        """
        gradient = self._gradient()
        while gradient is None:
            if self.maps.device.type == "cuda":
                torch.cuda.empty_cache()
            gradient = self._gradient()
        with torch.no_grad():
            vars(self).update(self._updated(*gradient))  # all at once: another thread may save them meanwhile

    def _gradient(self) -> tuple[torch.Tensor, torch.Tensor] | None:
        """Return the gradient and the losses; None if the memory is not enough for as many images at once."""
        parts = []
        most = min(self._most, self.size)
        for start in range(0, self.size, most):
            part = slice(start, start + most)
            features = [each[part] for each in self.target_features]
            try:
                parts.append(self.objective.gradient(self.maps[part], self.ws[part], self.target[part], features))
            except torch.OutOfMemoryError:
                if most == 1:
                    raise
                self._most = (most + 1) // 2
                return None
        gradients, losses = zip(*parts, strict=True)
        return torch.cat(gradients), torch.cat(losses)

    def _updated(self, gradient: torch.Tensor, loss: torch.Tensor) -> dict[str, torch.Tensor]:
        """Return the state after an update, by name; what is not finite stays as it was."""
        finite = self.finite & loss.isfinite() & gradient.isfinite().all(1)
        updated = self._adam.update(self.maps, gradient, self.m, self.v, self.step + 1)
        after = {"finite": finite, "step": self.step + finite}
        for name, new in zip(("maps", "m", "v"), updated, strict=True):
            after[name] = torch.where(finite[:, None], new, getattr(self, name))
        return after

    def state(self, position: int) -> NoiseState:
        """Return the state of an image, as it is or after a step that ends meanwhile, never of both."""
        tensors = vars(self).copy()
        arrays = {name: tensors[name][position].detach().cpu().numpy().copy() for name in ("maps", "m", "v")}
        return NoiseState(int(tensors["step"][position]), **arrays)
