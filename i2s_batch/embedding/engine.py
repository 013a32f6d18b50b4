"""Builds the networks of a worker on its device, and the embedders that use them."""

from __future__ import annotations

from dataclasses import replace
from functools import cached_property

import torch

from i2s_batch.config import EmbedConfig, ImageSettings
from i2s_batch.engine_registries import OPTIMIZERS
from i2s_batch.inversion import Embedder
from i2s_batch.inversion.batch_size import cpu_batch_size
from i2s_batch.inversion.learned import Learned
from i2s_batch.inversion.metrics import build_lpips
from i2s_batch.inversion.numerics import feature_map_dtype, set_numerics
from i2s_batch.inversion.step_program import StepProgram, choose_program
from i2s_batch.inversion.step_trial import StepTrial
from i2s_batch.inversion.tuning import Budget, Candidate, TrialFailedError, Tuning, choose, ladder, prior_of
from i2s_batch.models import Generator, GeneratorWeights, VGGWeights, build_generator, build_vgg, untrained
from i2s_batch.run.device import device_name, software
from i2s_batch.run.speed_cache import Measured, load_trials, named_program, save_measured, tuning_lock

# Time that a worker waits for another one's measurement beside what that may take: a compilation may outlast it.
LOCK_MARGIN_S = 120.0


def _discard(line: str) -> None:
    """Discard the warnings about the cache of measured speeds: a worker works without it."""


class _CachedTrial:
    """Measures a candidate, or returns what the cache has of it; what is measured is cached at once.

    A failure is cached if it lasts.
    """

    def __init__(self, engine: Engine, embed: EmbedConfig) -> None:
        self._engine, self._embed = engine, embed
        self._measure = engine.measure(embed)
        self._known = {one.key: one for one in load_trials(_discard)}

    def is_known(self, candidate: Candidate) -> bool:
        """Return whether the cache has an outcome."""
        return self._engine.figure(self._embed, candidate).key in self._known

    def __call__(self, candidate: Candidate) -> float:
        """Return the seconds a step and image; raises TrialFailedError."""
        known = self._known.get(self._engine.figure(self._embed, candidate).key)
        if known is None:
            known = self._measured(candidate)
            save_measured(known, _discard)
        if known.failure:
            raise TrialFailedError(known.failure, lasts=True)
        return known.seconds

    def _measured(self, candidate: Candidate) -> Measured:
        try:
            return self._engine.figure(self._embed, candidate, self._measure(candidate))
        except TrialFailedError as error:
            if not error.lasts:
                raise
            return self._engine.figure(self._embed, candidate, failure=str(error))


class Engine:
    """Holds the generator, the VGG-16 and, with ImageNet weights, LPIPS; each is loaded once.

    Beside them is the learned file of the run, if it has one.
    """

    def __init__(
        self, generator: GeneratorWeights, vgg: VGGWeights, device: str, precision: str, learned: Learned | None = None
    ) -> None:
        self.device, self._precision = torch.device(device), precision
        self._dtype, self._maps = set_numerics(precision), feature_map_dtype(precision)
        self._weights, self._learned = generator, learned
        self._generator = build_generator(generator, self.device, self._dtype, self._maps)
        self._vgg = build_vgg(vgg, self.device, self._dtype, self._maps)
        self._lpips = build_lpips(vgg.tensors, self.device) if vgg.has_lpips_trunk else None

    @property
    def resolution(self) -> int:
        """Return the side of the generator's images, in pixels."""
        return self._generator.resolution

    def tune(self, embed: EmbedConfig, limit: int, seconds: float) -> Tuning:
        """Return the step program and the batch size, at most `limit`, that suit the device best.

        On a GPU they are measured, once for each generator, precision, optimiser and version of the software: figures
        and failures are cached (`run.speed_cache`). One worker of a machine measures; the others wait for its figures,
        and find its compiled programs.

        Args:
            embed: The settings of the run.
            limit: The number of images that this worker will see, about.
            seconds: The time that measuring may take; with 0 what is cached decides.
        """
        program = choose_program(embed, self._generator)
        if self.device.type != "cuda":
            return Tuning(Candidate(program, min(limit, cpu_batch_size(self.resolution))), (), "a CPU is not measured")
        return self.climb(embed, limit, seconds, updates=limit * embed.steps)

    def climb(self, embed: EmbedConfig, limit: int, seconds: float, updates: float = float("inf")) -> Tuning:
        """Measure step programs on this device, whatever it is, for so many optimiser steps of an image to come."""
        prior = prior_of(choose_program(embed, self._generator), limit)
        with tuning_lock(seconds + LOCK_MARGIN_S if seconds else 0.0) as may_measure:
            if not may_measure:
                return Tuning(prior, (), "another worker of this machine still measures")
            trial = _CachedTrial(self, embed)
            may_capture = OPTIMIZERS.get(embed.optimizer).may_be_capturable
            rungs = ladder(prior, limit, only_compiled=bool(embed.compile), may_capture=may_capture)
            return choose(rungs, trial, Budget(seconds, updates), prior, trial.is_known)

    def measure(self, embed: EmbedConfig) -> StepTrial:
        """Return what measures candidates on this device."""
        return StepTrial(self._generator, self._vgg, embed, self._learned)

    def figure(self, embed: EmbedConfig, candidate: Candidate, seconds: float = 0.0, failure: str = "") -> Measured:
        """Return an entry of the cache for what a candidate gave."""
        networks = (device_name(self.device), self._weights.fingerprint, self._precision)
        name = named_program(candidate.program.name, embed.optimizer)
        return Measured(*networks, candidate.batch_size, seconds, name, software(), failure=failure)

    def embedder(self, settings: ImageSettings, slots: int, tuned: StepProgram | None = None) -> Embedder:
        """Return an embedder with `slots` free slots, whose steps run as `tuned`, or as it chooses itself."""
        generator = self._untrained if settings.untrained else self._generator
        embed = replace(settings.embed, batch_size=slots)
        return Embedder(generator, self._vgg, embed, self._lpips, program=tuned, learned=self._learned)

    def fingerprint(self, settings: ImageSettings) -> str:
        """Return the fingerprint of the generator that images of these settings are embedded with."""
        return self._untrained_weights.fingerprint if settings.untrained else self._weights.fingerprint

    @cached_property
    def _untrained_weights(self) -> GeneratorWeights:
        return untrained(self._weights)

    @cached_property
    def _untrained(self) -> Generator:
        """Return the generator with random weights, which one variant of one study embeds with."""
        return build_generator(self._untrained_weights, self.device, self._dtype, self._maps)
