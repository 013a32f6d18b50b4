"""Measures a step program with a batch size on the device at hand, after it has proved to compute the plain step."""

from __future__ import annotations

import math
import time
from dataclasses import replace
from functools import cached_property

import numpy as np
import torch

from i2s_batch.config import EmbedConfig
from i2s_batch.inversion.compiled import LOSS_TOLERANCE
from i2s_batch.inversion.embedder import Embedder
from i2s_batch.inversion.graph import WARM_UP_STEPS
from i2s_batch.inversion.learned import Learned
from i2s_batch.inversion.loss import Features
from i2s_batch.inversion.metrics import to_uint8
from i2s_batch.inversion.spaces import GeneratorLike
from i2s_batch.inversion.step_program import PLAIN
from i2s_batch.inversion.tuning import Candidate, TrialFailedError

# Steps before any is timed: the first compiles, then a graph is warmed up, captured and replayed once.
UNTIMED_STEPS = WARM_UP_STEPS + 3
TIMED_STEPS = 4
# The rest is left to the fragmentation of the allocator and to the metrics.
MEMORY_FRACTION = 0.8
# Adam's losses stay within the tolerance of a single evaluation (8e-3 after 50 steps in bfloat16, docs/gpu.md); other
# optimisers make of a difference a larger one at once, and what does not descend is farther off still.
_STEADY, _LATER_TOLERANCE = "adam", 0.1


class StepTrial:
    """Measures candidates of `tuning`, each on images that the generator has drawn itself.

    A candidate is refused if its first image's losses are not those of the plain step: a graph that holds the wrong
    addresses, or a program that lost its gradient, costs a line of the log and no image. (`compiled` has compared loss
    and gradient before.)

    Args:
        generator: The generator.
        features: The perceptual network.
        config: The settings of the run.
        learned: What the settings may need.
    """

    def __init__(
        self, generator: GeneratorLike, features: Features, config: EmbedConfig, learned: Learned | None = None
    ) -> None:
        self._generator, self._features, self._learned = generator, features, learned
        # Nothing may end an image while it is measured, and the noise stage has steps of its own.
        endless = replace(config, target_loss=None, target_psnr=None, stop_plateau=None, noise_steps=0)
        self._config = replace(endless, steps=10 * (UNTIMED_STEPS + TIMED_STEPS))
        self._device = generator.w_avg.device

    def __call__(self, candidate: Candidate) -> float:
        """Return the seconds a step and image.

        Raises:
            TrialFailedError: It needs more than `MEMORY_FRACTION` of the free memory, cannot be compiled, or computes
                something else than the plain step.
        """
        try:
            return self._measured(candidate)
        except torch.OutOfMemoryError:
            raise TrialFailedError("too little memory") from None
        finally:
            if self._device.type == "cuda":
                torch.cuda.empty_cache()

    def _measured(self, candidate: Candidate) -> float:
        expected = self._plain_losses
        on_gpu = self._device.type == "cuda"
        free, before = 0, 0
        if on_gpu:
            torch.cuda.empty_cache()
            free, _ = torch.cuda.mem_get_info(self._device)
            torch.cuda.reset_peak_memory_stats(self._device)
            before = torch.cuda.memory_allocated(self._device)
        embedder = self._embedder(candidate)
        self._advance(embedder, UNTIMED_STEPS)
        seconds = min(self._timed(embedder) for _ in range(TIMED_STEPS))
        if on_gpu and torch.cuda.max_memory_allocated(self._device) - before > MEMORY_FRACTION * free:
            raise torch.OutOfMemoryError(f"it takes more than {MEMORY_FRACTION:.0%} of the free memory")
        if embedder.capacity < candidate.batch_size:
            raise torch.OutOfMemoryError(f"{embedder.capacity} of {candidate.batch_size} images fit")
        if warning := embedder.take_warning():
            raise TrialFailedError(warning)
        self._check(self._losses(embedder), expected)
        return seconds / candidate.batch_size

    @cached_property
    def _plain_losses(self) -> list[float]:
        """Return the losses of the first image by the plain step, alone in its batch."""
        embedder = self._embedder(Candidate(PLAIN, 1))
        self._advance(embedder, UNTIMED_STEPS + TIMED_STEPS)
        return self._losses(embedder)

    def _embedder(self, candidate: Candidate) -> Embedder:
        config = replace(self._config, batch_size=candidate.batch_size)
        program, learned = candidate.program, self._learned
        embedder = Embedder(self._generator, self._features, config, program=program, learned=learned)
        for position in range(candidate.batch_size):
            if embedder.free:  # the batch is smaller where its memory was not enough
                embedder.put(str(position), self.image(position))
        return embedder

    def image(self, seed: int) -> np.ndarray:
        """Return an image of the generator; of one that needs labels, a shifted one of its mean latent."""
        like = self._generator.w_avg
        z = torch.from_numpy(np.random.default_rng(seed).standard_normal((1, self._generator.z_dim)))
        with torch.no_grad():
            if self._generator.c_dim:
                mean = like.expand(1, self._generator.num_layers, -1)
                return np.roll(to_uint8(self._generator.synthesize(mean)[0]), 7 * seed, axis=1)
            return to_uint8(self._generator.synthesize(self._generator.map(z.to(like)))[0])

    @staticmethod
    def _advance(embedder: Embedder, steps: int) -> None:
        made = iter(range(1, steps + 1))
        embedder.advance(stop=lambda: next(made) == steps)

    def _timed(self, embedder: Embedder) -> float:
        """Return the seconds of one step of all slots."""
        began = time.perf_counter()
        embedder.advance(stop=lambda: True)
        if self._device.type == "cuda":
            torch.cuda.synchronize(self._device)
        return time.perf_counter() - began

    @staticmethod
    def _losses(embedder: Embedder) -> list[float]:
        losses: list[float] = embedder.slots.losses(0)[: UNTIMED_STEPS + TIMED_STEPS].tolist()
        return losses

    def _check(self, losses: list[float], expected: list[float]) -> None:
        tolerance = LOSS_TOLERANCE[self._generator.activations or self._generator.w_avg.dtype]
        for step, (loss, plain) in enumerate(zip(losses, expected, strict=True)):
            if step > 1 and self._config.optimizer != _STEADY:
                tolerance = _LATER_TOLERANCE
            if math.isfinite(plain) and not abs(loss - plain) <= tolerance * abs(plain):
                raise TrialFailedError(
                    f"its loss after {step} steps is {loss:.6g} where the plain step's is {plain:.6g}", lasts=True
                )
