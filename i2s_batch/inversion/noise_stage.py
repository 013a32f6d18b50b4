"""Runs the noise stage: when the latent of an image is found, its noise maps are optimised with the latent fixed.

Image2StyleGAN++ (Abdal, Qin, Wonka, CVPR 2020) embeds in this order and never both jointly, since noise maps could
draw nearly everything and would leave little to the latent. The result of the latent stays what it is without the
stage; the maps and their own metrics come beside it.
"""

from __future__ import annotations

import time
from contextlib import AbstractContextManager
from dataclasses import dataclass, replace
from typing import cast

import numpy as np
import torch

from i2s_batch.config import EmbedConfig
from i2s_batch.errors import ConfigError
from i2s_batch.inversion.loss import Features
from i2s_batch.inversion.metrics import from_uint8, mse, psnr, ssim, to_uint8
from i2s_batch.inversion.noise_slots import NoiseSlots
from i2s_batch.inversion.noise_state import NoiseState
from i2s_batch.inversion.result import EmbedResult, NoiseResult
from i2s_batch.inversion.slot_state import SlotState
from i2s_batch.inversion.spaces import GeneratorLike, NoiseGenerator
from i2s_batch.models.noise_maps import NoiseLayout
from i2s_batch.schema.columns import STATUS_OK

# Steps between two host syncs: bounds how late a loss that is not finite is noticed.
_STEPS_PER_SYNC = 25


@dataclass
class _Occupant:
    """Holds an image of the stage: its result so far, its target uint8 [R, R, 3], and the updates of its maps."""

    result: EmbedResult
    target: np.ndarray
    step: int
    started_at: float

    @property
    def seconds(self) -> float:
        """Return the wall time of the image in slots so far, that of its latent included."""
        return self.result.seconds + time.monotonic() - self.started_at


def without_noise(steps: int, family: str) -> ConfigError:
    """Return the error of a noise stage with a generator that has no noise."""
    return ConfigError(f"noise steps are {steps}, and a {family} generator has no noise maps; leave them out")


def noise_stage_of(generator: GeneratorLike, features: Features, config: EmbedConfig, most: int) -> NoiseStage | None:
    """Return the noise stage of an embedding; None without one.

    Raises:
        ConfigError: The generator has no noise maps.
    """
    if not config.noise_steps:
        return None
    layout: NoiseLayout = getattr(generator, "noise_layout", NoiseLayout())
    if not layout.sides:
        raise without_noise(config.noise_steps, getattr(generator, "family", type(generator).__name__))
    return NoiseStage(cast(NoiseGenerator, generator), features, config, most)


class NoiseStage:
    """Holds the images whose latents are found and whose noise maps are not."""

    def __init__(self, generator: NoiseGenerator, features: Features, config: EmbedConfig, most: int) -> None:
        self._generator, self._features, self._config = generator, features, config
        self._slots = NoiseSlots(generator, features, config, most)
        self._occupants: list[_Occupant] = []
        self._resumed: dict[str, NoiseState] = {}  # of images whose latent is still being judged again

    @property
    def in_flight(self) -> dict[str, int]:
        """Return the images of the stage, and the updates made of their latents and maps."""
        return {each.result.image_id: each.result.steps + each.step for each in self._occupants}

    @property
    def resumed_steps(self) -> dict[str, int]:
        """Return the updates of the maps of images that resume in this stage and are not in it yet."""
        return {image_id: state.step for image_id, state in self._resumed.items()}

    def objection_to(self, state: NoiseState) -> str:
        """Return why maps cannot be resumed from `state`, in a few words; empty if they can."""
        shape, steps = (self._generator.noise_layout.size,), self._config.noise_steps
        shapes = {state.effects.shape, state.m.shape, state.v.shape}
        if shapes != {shape} or not 0 <= state.step <= steps:
            found = f"noise of shape {list(state.effects.shape)} at step {state.step}"
            return f"{found}; expected {list(shape)}, 0 to {steps}"
        return ""

    def resume(self, image_id: str, state: NoiseState) -> None:
        """Keep the maps that an image resumes from until its latent has been judged again."""
        self._resumed[image_id] = state

    def held(self, image_id: str) -> NoiseState | None:
        """Return the maps that are kept for an image whose latent is being judged again, None for most."""
        return self._resumed.get(image_id)

    def advance(
        self, ended: list[tuple[EmbedResult, np.ndarray]], computing: AbstractContextManager[None]
    ) -> tuple[list[EmbedResult], int]:
        """Take images whose latents are found, make one step of all maps, and return the finished results.

        The number of updates that were made comes beside them.

        Args:
            ended: Results with their targets, uint8 [R, R, 3].
            computing: Entered around the part of the step that only computes.
        """
        finished = [result for result, _ in ended if result.status != STATUS_OK]
        for result, target in ended:
            if result.status == STATUS_OK:
                self._start(result, target)
        done = [position for position, each in enumerate(self._occupants) if each.step >= self._config.noise_steps]
        if not done and self._occupants:
            with computing:
                self._slots.advance()
            for each in self._occupants:
                each.step += 1
            return finished + self._take(self._ended()), len(self._occupants)
        return finished + self._take(done), 0

    def snapshot(self) -> list[SlotState]:
        """Return the state of every image of the stage, as values."""
        states = []
        for position, each in enumerate(self._occupants):
            assert each.result.state is not None
            noise = self._slots.state(position)
            states.append(replace(each.result.state, seconds=each.seconds, noise=noise))
        return states

    def _start(self, result: EmbedResult, target: np.ndarray) -> None:
        state = self._resumed.get(result.image_id)
        assert result.latent is not None
        like = self._generator.w_avg
        latent = torch.from_numpy(result.latent.copy()).to(like)
        self._slots.add(latent, from_uint8(target, like), state)
        self._occupants.append(_Occupant(result, target, 0 if state is None else state.step, time.monotonic()))
        self._resumed.pop(result.image_id, None)

    def _ended(self) -> list[int]:
        steps = self._config.noise_steps
        ended = {position for position, each in enumerate(self._occupants) if each.step >= steps}
        if ended or any(each.step % _STEPS_PER_SYNC == 0 for each in self._occupants):
            ended |= {
                position for position, finite in enumerate(self._slots.finite.tolist()) if not finite
            }  # host sync
        return sorted(ended)

    def _take(self, positions: list[int]) -> list[EmbedResult]:
        """Take images out of the stage and return their results."""
        if not positions:
            return []
        results = [self._result(position) for position in positions]
        kept = [position for position in range(len(self._occupants)) if position not in set(positions)]
        self._slots.keep(kept)
        self._occupants = [self._occupants[position] for position in kept]
        return results

    def _result(self, position: int) -> EmbedResult:
        """Return the result of an image, with its maps unless they ended in a loss that is not finite."""
        occupant = self._occupants[position]
        result = replace(occupant.result, seconds=occupant.seconds)
        if not bool(self._slots.finite[position]):
            return result
        return replace(result, noise=self._judged(position, occupant))

    def _judged(self, position: int, occupant: _Occupant) -> NoiseResult | None:
        """Return the maps as they are stored, in float16, with the loss and the metrics of exactly those.

        The image is synthesised alone in its batch. None where it, or a map in float16, is not finite.
        """
        slots, target = self._slots, occupant.target
        part = slice(position, position + 1)
        maps = slots.objective.maps(slots.effects[part]).to(torch.float16)
        images, losses = slots.objective.judged(maps.to(slots.effects.dtype), slots.ws[part], slots.target[part])
        loss = float(losses)
        if not np.isfinite(loss):
            return None
        picture = to_uint8(images[0])
        error = mse(picture, target)
        similarity = ssim(picture, target, slots.effects.device)
        return NoiseResult(occupant.step, maps[0].cpu().numpy(), loss, error, psnr(error), similarity)
