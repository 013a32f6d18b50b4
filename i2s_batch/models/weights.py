"""This module holds network weights as plain values, apart from their file and the modules built from them."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from i2s_batch.models.network_settings import GeneratorSettings

# The convolutions of torchvision's VGG-16 (`features.N`) with their output widths; the first nine reach conv4_2.
VGG_LAYERS = (0, 2, 5, 7, 10, 12, 14, 17, 19, 21, 24, 26, 28)
VGG_WIDTHS = (64, 64, 128, 128, 256, 256, 256, 512, 512, 512, 512, 512, 512)
VGG_LAYERS_TO_CONV4_2 = 9


def sha256_of(facts: Sequence[object], tensors: Mapping[str, np.ndarray]) -> str:
    """Return the sha256, hex, of `facts` (JSON values), and of the name, shape and float32 values of every tensor."""
    names = sorted(tensors)
    shapes = [[name, list(tensors[name].shape)] for name in names]
    digest = hashlib.sha256(json.dumps([*facts, shapes], sort_keys=True, separators=(",", ":")).encode())
    for name in names:
        digest.update(tensors[name].astype("<f4", copy=False).tobytes())
    return digest.hexdigest()


@dataclass(frozen=True, eq=False)
class GeneratorWeights:
    """Holds a generator: its settings, and its raw variables under our own names (see `network_layout`).

    `tensors`: float32 arrays, possibly read-only; `origin`: a line for people, no part of the fingerprint.
    """

    settings: GeneratorSettings
    tensors: dict[str, np.ndarray]
    origin: str

    @property
    def family(self) -> str:
        """Return the family of its settings: stylegan1, stylegan2 or stylegan3."""
        return self.settings.family

    @cached_property
    def fingerprint(self) -> str:
        """Return the sha256, hex, of the family, the settings and every value; the same for every file format."""
        return sha256_of([self.family, self.settings.to_json()], self.tensors)

    @property
    def latent_shape(self) -> tuple[int, int]:
        """Return the shape (L, w_dim) of a W+ latent."""
        return self.settings.latents, self.tensors["w_avg"].shape[0]

    def part(self, prefix: str) -> dict[str, np.ndarray]:
        """Return the variables whose names begin with `prefix`, without it."""
        return {name.removeprefix(prefix): value for name, value in self.tensors.items() if name.startswith(prefix)}

    @property
    def latent_size(self) -> int:
        """Return L * w_dim."""
        return self.latent_shape[0] * self.latent_shape[1]


@dataclass(frozen=True, eq=False)
class VGGWeights:
    """Holds VGG-16 convolutions under torchvision's names `features.N.weight` [out, in, 3, 3] and `.bias` [out].

    `is_random`: drawn, not learnt.
    """

    tensors: dict[str, np.ndarray]
    origin: str
    is_random: bool = False

    @cached_property
    def fingerprint(self) -> str:
        """Return the sha256, hex, of every value."""
        return sha256_of(["vgg16"], self.tensors)

    @property
    def has_lpips_trunk(self) -> bool:
        """Return whether LPIPS can stand on these weights: learnt, and all 13 convolutions at full width."""
        inputs = (3, *VGG_WIDTHS)
        found = [self.tensors.get(f"features.{layer}.weight") for layer in VGG_LAYERS]
        full = [(width, inputs[i], 3, 3) for i, width in enumerate(VGG_WIDTHS)]
        return not self.is_random and [None if w is None else w.shape for w in found] == full
