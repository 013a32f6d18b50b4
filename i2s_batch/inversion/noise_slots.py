"""Optimises the noise maps of several images in a batch, with the latents fixed. No image knows of its neighbours.

What is optimised is the effect u of each map n: its layer's strength s times the map. Strengths differ by a factor of
some hundreds between the layers of a generator, so that no learning rate suits all maps; one suits all effects.

The steps are plain ones: the fused operators of the compiled step give no gradient of the noise.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import torch

from i2s_batch.config import EmbedConfig
from i2s_batch.inversion.adam import Adam
from i2s_batch.inversion.loss import Features, loss_terms, loss_weight_vector, mean_square
from i2s_batch.inversion.noise_penalty import distance_penalty
from i2s_batch.inversion.noise_state import NoiseState
from i2s_batch.inversion.spaces import NoiseGenerator

# Below this a layer has no noise: its maps stay as they are, since their gradient is 0.
_LEAST_STRENGTH = 1e-6

# What is joined and dropped together, one image each.
_TENSORS = ("effects", "m", "v", "step", "finite", "ws", "target")


@dataclass(frozen=True)
class NoiseObjective:
    """Computes the loss of images with noise maps of their own, and the penalty beside it.

    Attributes:
        generator: The generator.
        features: The perceptual network.
        weights: The loss weights [5] of the run.
        penalty_weight: The weight of the penalty.
        whole: Whether the whole loss is minimised, eq. (1) of the paper, or its pixel term alone, as in
            Image2StyleGAN++, which needs no perceptual network.
    """

    generator: NoiseGenerator
    features: Features
    weights: torch.Tensor
    penalty_weight: float
    whole: bool

    @cached_property
    def strengths(self) -> torch.Tensor:
        """Return the strength of each value of the maps, [N]; not 0, which would leave no map to an effect."""
        return self.generator.noise_layout.expanded(self.generator.noise_strengths.clamp(min=_LEAST_STRENGTH))

    @cached_property
    def stored(self) -> torch.Tensor:
        """Return the effects of the stored noise, [N]."""
        return self.generator.stored_noise * self.strengths

    def maps(self, effects: torch.Tensor) -> torch.Tensor:
        """Return the maps [B, N] that have these effects."""
        return effects / self.strengths

    def losses(
        self, effects: torch.Tensor, ws: torch.Tensor, target: torch.Tensor, target_features: Sequence[torch.Tensor]
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Return the sum over the batch with the penalty, and what is minimised [B] of each image without it.

        `target_features` are those that `target_features_of` returns.
        """
        images = self.generator.synthesize_with_noise(ws, self.maps(effects))
        loss = self._loss(images, target, target_features) if self.whole else mean_square(images, target)
        return (loss + self.penalty_weight * distance_penalty(effects, self.stored)).sum(), loss

    def target_features_of(self, target: torch.Tensor) -> list[torch.Tensor]:
        """Return the feature maps of targets [B, 3, R, R] that the steps need: none for the pixel term."""
        with torch.no_grad():
            return [each.detach() for each in self.features(target)] if self.whole else []

    def judged(self, maps: torch.Tensor, ws: torch.Tensor, target: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Return the images [B, 3, R, R] that maps [B, N] give, and the whole loss [B] of each."""
        with torch.no_grad():
            images = self.generator.synthesize_with_noise(ws, maps)
            return images, self._loss(images, target, self.features(target))

    def _loss(
        self, images: torch.Tensor, target: torch.Tensor, target_features: Sequence[torch.Tensor]
    ) -> torch.Tensor:
        return loss_terms(images, target, self.features(images), target_features) @ self.weights

    def gradient(
        self, effects: torch.Tensor, ws: torch.Tensor, target: torch.Tensor, target_features: Sequence[torch.Tensor]
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Return the gradient with respect to the effects [B, N], and the loss [B] of each image."""
        with torch.enable_grad():
            leaf = effects.detach().requires_grad_()
            total, loss = self.losses(leaf, ws, target, target_features)
            (gradient,) = torch.autograd.grad(total, leaf)
        return gradient, loss.detach()


class NoiseSlots:
    """Holds B images in a batch, as many as there are. All tensors have the image as their first dimension.

    Attributes:
        effects: [B, N], strength times noise map.
        m: [B, N], Adam's mean of the gradients.
        v: [B, N], Adam's mean of their squares.
        step: [B] int64, updates made.
        finite: [B] bool, whether every loss so far was finite.
        ws: [B, L, w_dim], the latents.
        target: [B, 3, R, R] in [-1, 1].
        target_features: The feature maps of the targets.
    """

    effects: torch.Tensor
    m: torch.Tensor
    v: torch.Tensor
    step: torch.Tensor
    finite: torch.Tensor
    ws: torch.Tensor
    target: torch.Tensor

    def __init__(self, generator: NoiseGenerator, features: Features, config: EmbedConfig, most: int) -> None:
        """Prepare no slots; `most` bounds the images whose gradients are computed at once."""
        weights = loss_weight_vector(config.loss_weights, generator.w_avg)
        self.objective = NoiseObjective(
            generator, features, weights, config.noise_penalty, config.noise_objective == "loss"
        )
        # The loss is a mean over all pixels and a value of a map meets few of them: gradients are as much smaller.
        epsilon = config.epsilon / generator.noise_layout.size
        self._adam = Adam(config.noise_learning_rate, config.beta1, config.beta2, epsilon)
        self._steps, self._most = config.noise_steps, most
        self.target_features: list[torch.Tensor] = []
        self.size = 0

    def add(self, ws: torch.Tensor, target: torch.Tensor, state: NoiseState | None) -> None:
        """Add an image, latent [L, w_dim] and target [3, R, R], from `state` or from the stored noise."""
        stored = self.objective.stored
        if state is None:
            effects, m, v, step = stored.clone(), torch.zeros_like(stored), torch.zeros_like(stored), 0
        else:
            effects, m, v = (torch.from_numpy(a.copy()).to(stored) for a in (state.effects, state.m, state.v))
            step = state.step
        flags = {"step": torch.tensor(step), "finite": torch.tensor(True)}
        fresh = {"effects": effects, "m": m, "v": v, "ws": ws, "target": target} | flags
        fresh = {name: value[None].to(stored.device) for name, value in fresh.items()}
        fresh_features = self.objective.target_features_of(fresh["target"])
        if self.size:
            fresh = {name: torch.cat([getattr(self, name), value]) for name, value in fresh.items()}
            pairs = zip(self.target_features, fresh_features, strict=True)
            fresh_features = [torch.cat(pair) for pair in pairs]
        vars(self).update(fresh)
        self.target_features, self.size = fresh_features, self.size + 1

    def keep(self, positions: Sequence[int]) -> None:
        """Drop every image that is not in `positions`."""
        index = torch.tensor(positions, device=self.effects.device, dtype=torch.long)
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
            if self.effects.device.type == "cuda":
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
                parts.append(self.objective.gradient(self.effects[part], self.ws[part], self.target[part], features))
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
        updated = self._adam.update(self.effects, gradient, self.m, self.v, self.step + 1)
        after = {"finite": finite, "step": self.step + finite}
        for name, new in zip(("effects", "m", "v"), updated, strict=True):
            after[name] = torch.where(finite[:, None], new, getattr(self, name))
        return after

    def state(self, position: int) -> NoiseState:
        """Return the state of an image, as it is or after a step that ends meanwhile, never of both."""
        tensors = vars(self).copy()
        arrays = {name: tensors[name][position].detach().cpu().numpy().copy() for name in ("effects", "m", "v")}
        return NoiseState(int(tensors["step"][position]), **arrays)
