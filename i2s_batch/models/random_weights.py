"""Untrained generators of any size, for benchmarks and tests that must not need a download."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np

from i2s_batch.errors import ConfigError
from i2s_batch.models.layout import (
    STYLEGAN1,
    STYLEGAN2,
    Widths,
    check_settings,
    layer_resolution,
    shapes_of,
)
from i2s_batch.models.mapping import mean_latent
from i2s_batch.models.weights import GeneratorWeights, num_layers

# Channels at resolution r are min(base / r, maximum): the official tables at 1024 pixels.
_CHANNEL_BASE = {STYLEGAN1: 16384, STYLEGAN2: 32768}
_MAPPING_LAYERS = 8
_LR_MULTIPLIER = 0.01
_DEVIATIONS = {"noise_strength": 0.1, "bias": 0.0}


def random_generator(
    family: str = STYLEGAN1,
    resolution: int = 1024,
    seed: int = 0,
    *,
    width: int = 512,
    channel_base: int | None = None,
    c_dim: int = 0,
    architecture: str = "skip",
    conv_clamp: float | None = None,
) -> GeneratorWeights:
    """Weights as before training, with weak noise: the same for a seed everywhere.

    `width`: of z, w, the mapping and the widest layer; `channel_base`: None for the official table;
    `architecture` and `conv_clamp` are StyleGAN2's. Raises ConfigError for an unknown family, CheckpointError for
    sizes that no generator has.
    """
    if family not in _CHANNEL_BASE:
        raise ConfigError(f"family is {family!r}; it must be one of {', '.join(_CHANNEL_BASE)}")
    settings: dict[str, Any] = {
        "resolution": resolution,
        "c_dim": c_dim,
        "mapping_layers": _MAPPING_LAYERS,
        "mapping_lr_multiplier": _LR_MULTIPLIER,
    }
    if family == STYLEGAN2:
        settings |= {"architecture": architecture, "conv_clamp": conv_clamp, "demodulation": "raw"}
    check_settings(family, settings)
    base = channel_base or _CHANNEL_BASE[family]
    layers = range(num_layers(resolution))
    widths = Widths(
        z=width,
        w=width,
        label=width if c_dim else 0,
        mapping=(width,) * _MAPPING_LAYERS,
        channels=tuple(max(1, min(base // layer_resolution(i), width)) for i in layers),
    )
    stream = np.random.RandomState(seed)
    shapes = shapes_of(family, settings, widths)
    tensors = {name: _drawn(name, shape, family, stream) for name, shape in shapes.items()}
    weights = GeneratorWeights(family, settings, tensors, f"random {family}, seed {seed}")
    return replace(weights, tensors=tensors | {"w_avg": mean_latent(weights, widths.z)})


def _drawn(name: str, shape: tuple[int, ...], family: str, stream: np.random.RandomState) -> np.ndarray:
    deviation = _DEVIATIONS.get(name.rpartition(".")[2], 1.0)
    if name.startswith("mapping.") and name.endswith("weight"):
        deviation = 1 / _LR_MULTIPLIER
    elif name.startswith("to_rgb") and "style" not in name:
        deviation *= 0.35  # keeps most of an image within [-1, 1]
    # A StyleGAN2 style is used as it is, a StyleGAN1 style with + 1.
    centre = 1.0 if family == STYLEGAN2 and name.endswith("style.bias") else 0.0
    return np.array(centre + deviation * stream.standard_normal(shape), np.float32)
