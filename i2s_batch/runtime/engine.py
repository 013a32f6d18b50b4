"""A worker's networks on its device, and the embedders that use them."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property

import torch

from i2s_batch.config import EmbedConfig
from i2s_batch.inversion import Embedder
from i2s_batch.inversion.batch_size import choose_batch_size
from i2s_batch.inversion.metrics import build_lpips
from i2s_batch.inversion.numerics import map_dtype, set_numerics
from i2s_batch.models import Generator, GeneratorWeights, VGGWeights, build_generator, build_vgg, untrained


@dataclass(frozen=True)
class Settings:
    """What a picture is embedded with. Pictures of equal settings can be side by side in a batch.

    `untrained`: with random weights in place of the generator's.
    """

    embed: EmbedConfig
    untrained: bool = False


class Engine:
    """Generator, VGG-16 and perhaps LPIPS, loaded once."""

    def __init__(self, generator: GeneratorWeights, vgg: VGGWeights, device: str, precision: str) -> None:
        self.device = torch.device(device)
        self._dtype, self._maps = set_numerics(precision), map_dtype(precision)
        self._weights = generator
        self._generator = build_generator(generator, self.device, self._dtype, self._maps)
        self._vgg = build_vgg(vgg, self.device, self._dtype, self._maps)
        self._lpips = build_lpips(vgg.tensors, self.device) if vgg.has_lpips_trunk else None

    @property
    def resolution(self) -> int:
        """Of the pictures."""
        return self._generator.resolution

    def choose_batch_size(self, embed: EmbedConfig) -> int:
        """How many pictures side by side the device does best."""
        return choose_batch_size(self._generator, self._vgg, embed)

    def embedder(self, settings: Settings, slots: int) -> Embedder:
        """One with `slots` free slots."""
        generator = self._untrained if settings.untrained else self._generator
        return Embedder(generator, self._vgg, replace(settings.embed, batch_size=slots), self._lpips)

    @cached_property
    def _untrained(self) -> Generator:
        """For those who want it, which is one variant of one study."""
        return build_generator(untrained(self._weights), self.device, self._dtype, self._maps)
