"""A worker's networks on its device, and the embedders that use them."""

from __future__ import annotations

from dataclasses import replace
from functools import cached_property, partial

import torch

from i2s_batch.config import EmbedConfig, ImageSettings
from i2s_batch.inversion import Embedder
from i2s_batch.inversion.batch_size import GRAPH_BATCH_SIZE, cpu_batch_size, fastest_batch_size, step_seconds
from i2s_batch.inversion.metrics import build_lpips
from i2s_batch.inversion.numerics import feature_map_dtype, set_numerics
from i2s_batch.inversion.step_program import choose_program
from i2s_batch.models import Generator, GeneratorWeights, VGGWeights, build_generator, build_vgg, untrained
from i2s_batch.run.device import device_name, software
from i2s_batch.run.speed_cache import Measured, load_measured, save_measured


def _unsaid(line: str) -> None:
    """A worker's memory is a help, never a need: nobody is told where it fails."""


class Engine:
    """Generator, VGG-16 and perhaps LPIPS, loaded once."""

    def __init__(self, generator: GeneratorWeights, vgg: VGGWeights, device: str, precision: str) -> None:
        self.device, self._precision = torch.device(device), precision
        self._dtype, self._maps = set_numerics(precision), feature_map_dtype(precision)
        self._weights = generator
        self._generator = build_generator(generator, self.device, self._dtype, self._maps)
        self._vgg = build_vgg(vgg, self.device, self._dtype, self._maps)
        self._lpips = build_lpips(vgg.tensors, self.device) if vgg.has_lpips_trunk else None

    @property
    def resolution(self) -> int:
        """Of the pictures."""
        return self._generator.resolution

    def choose_batch_size(self, embed: EmbedConfig, limit: int) -> int:
        """How many pictures side by side, at most `limit`, the device does best. A GPU is measured, once for each
        generator and precision: the figures are remembered (`runtime.remembered`)."""
        if self.device.type != "cuda":
            return min(limit, cpu_batch_size(self.resolution))
        if choose_program(embed, self._generator).graph:
            return min(limit, GRAPH_BATCH_SIZE)
        return fastest_batch_size(partial(self.step_seconds, embed), limit)

    def step_seconds(self, embed: EmbedConfig, batch_size: int) -> float:
        """Seconds a step and image with so many side by side: remembered, else measured and remembered."""
        networks = (device_name(self.device), self._weights.fingerprint, self._precision)
        wanted = (*networks, batch_size, "plain", software())
        for one in load_measured(_unsaid):
            if one.key == wanted:
                return one.seconds
        seconds = step_seconds(self._generator, self._vgg, embed, batch_size)
        save_measured(Measured(*networks, batch_size, seconds, "plain", software()), _unsaid)
        return seconds

    def embedder(self, settings: ImageSettings, slots: int) -> Embedder:
        """One with `slots` free slots."""
        generator = self._untrained if settings.untrained else self._generator
        return Embedder(generator, self._vgg, replace(settings.embed, batch_size=slots), self._lpips)

    @cached_property
    def _untrained(self) -> Generator:
        """For those who want it, which is one variant of one study."""
        return build_generator(untrained(self._weights), self.device, self._dtype, self._maps)
