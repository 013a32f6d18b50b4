"""Builds the networks of a worker on its device, and the embedders that use them."""

from __future__ import annotations

from dataclasses import replace
from functools import cached_property, partial

import torch

from i2s_batch.config import EmbedConfig, ImageSettings
from i2s_batch.inversion import Embedder
from i2s_batch.inversion.batch_size import GRAPH_BATCH_SIZE, cpu_batch_size, fastest_batch_size, step_seconds
from i2s_batch.inversion.learned import Learned
from i2s_batch.inversion.metrics import build_lpips
from i2s_batch.inversion.numerics import feature_map_dtype, set_numerics
from i2s_batch.inversion.step_program import choose_program
from i2s_batch.models import Generator, GeneratorWeights, VGGWeights, build_generator, build_vgg, untrained
from i2s_batch.run.device import device_name, software
from i2s_batch.run.speed_cache import Measured, load_measured, save_measured


def _discard(line: str) -> None:
    """Discard the warnings about the cache of measured speeds: a worker works without it."""


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

    def choose_batch_size(self, embed: EmbedConfig, limit: int) -> int:
        """Return the batch size that suits the device best, at most `limit`.

        A GPU is measured once for each generator and precision; the figures are cached (`run.speed_cache`).
        """
        if self.device.type != "cuda":
            return min(limit, cpu_batch_size(self.resolution))
        if choose_program(embed, self._generator).graph:
            return min(limit, GRAPH_BATCH_SIZE)
        return fastest_batch_size(partial(self.step_seconds, embed), limit)

    def step_seconds(self, embed: EmbedConfig, batch_size: int) -> float:
        """Return the seconds per step and image at a batch size, from the cache or measured now."""
        networks = (device_name(self.device), self._weights.fingerprint, self._precision)
        wanted = (*networks, batch_size, "plain", software())
        for one in load_measured(_discard):
            if one.key == wanted:
                return one.seconds
        seconds = step_seconds(self._generator, self._vgg, embed, batch_size, self._learned)
        save_measured(Measured(*networks, batch_size, seconds, "plain", software()), _discard)
        return seconds

    def embedder(self, settings: ImageSettings, slots: int) -> Embedder:
        """Return an embedder with `slots` free slots."""
        generator = self._untrained if settings.untrained else self._generator
        embed = replace(settings.embed, batch_size=slots)
        return Embedder(generator, self._vgg, embed, self._lpips, learned=self._learned)

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
