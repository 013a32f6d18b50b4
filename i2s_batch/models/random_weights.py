"""This module draws untrained generators of any size, for benchmarks and tests that must not need a download."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from i2s_batch.errors import ConfigError
from i2s_batch.models.alias_free import Filters, bands, layers_of
from i2s_batch.models.mapping import mean_latent
from i2s_batch.models.network_layout import Widths, check_weights, layer_resolution, shapes_of
from i2s_batch.models.network_settings import (
    STYLEGAN1,
    STYLEGAN2,
    STYLEGAN3,
    GeneratorSettings,
    StyleGAN1Settings,
    StyleGAN2Settings,
    StyleGAN3Settings,
    check_settings,
    num_layers,
)
from i2s_batch.models.weights import GeneratorWeights

# Channels at resolution r are min(base / r, maximum), in StyleGAN3 r being twice the cutoff: the official tables at
# 1024 pixels (StyleGAN3's configuration R has twice the base and the maximum).
_CHANNEL_BASE = {STYLEGAN1: 16384, STYLEGAN2: 32768, STYLEGAN3: 32768}
_MAPPING_LAYERS = {STYLEGAN1: 8, STYLEGAN2: 8, STYLEGAN3: 2}
_LR_MULTIPLIER = 0.01
_DEVIATIONS = {"noise_strength": 0.1, "bias": 0.0}
# The rotation and shift of a StyleGAN3's input that change nothing.
_AT_REST = np.array([1, 0, 0, 0], np.float32)


def random_generator(
    family: str = STYLEGAN1,
    resolution: int = 1024,
    seed: int = 0,
    *,
    width: int = 512,
    channel_base: int | None = None,
    channel_max: int | None = None,
    c_dim: int = 0,
    architecture: str = "skip",
    conv_clamp: float | None = None,
    radial: bool = False,
) -> GeneratorWeights:
    """Return weights as before training, with weak noise: the same for a seed everywhere.

    `width`: of z, w and the mapping; `channel_base`: None for the official table; `channel_max`: of the widest layer,
    None for `width`; `architecture` is StyleGAN2's, `conv_clamp` also StyleGAN3's, `radial` its configuration R. Raises
    ConfigError for an unknown family, CheckpointError for sizes that no generator has.
    """
    if family not in _CHANNEL_BASE:
        raise ConfigError(f"family is {family!r}; it must be one of {', '.join(_CHANNEL_BASE)}")
    common = (resolution, c_dim, _MAPPING_LAYERS[family], _LR_MULTIPLIER)
    base, widest = channel_base or _CHANNEL_BASE[family], channel_max or width
    channels = [max(1, min(base // layer_resolution(i), widest)) for i in range(num_layers(resolution))]
    filters: list[Filters] = []
    settings: GeneratorSettings = StyleGAN1Settings(*common)
    if family == STYLEGAN2:
        settings = StyleGAN2Settings(*common, architecture, conv_clamp, "raw")
    elif family == STYLEGAN3:
        every = bands(resolution)
        layers, filters = layers_of(resolution, radial)
        first = every[0]
        settings = StyleGAN3Settings(*common, conv_clamp, 0.25, first.size, float(first.rate), first.cutoff, layers)
        after = [max(1, min(round(base / 2 / band.cutoff), widest)) for band in every]
        channels = [after[0], *after[:-1], 3]
    check_settings(settings)
    widths = Widths(
        z=width,
        w=width,
        label=width if c_dim else 0,
        mapping=(width,) * settings.mapping_layers,
        channels=tuple(channels),
    )
    stream = np.random.RandomState(seed)
    shapes = shapes_of(settings, widths)
    tensors = {name: _drawn(name, shape, family, stream) for name, shape in shapes.items()}
    if isinstance(settings, StyleGAN3Settings):
        tensors |= _of_alias_free_layers(settings, channels[0], filters, stream)
    weights = GeneratorWeights(settings, tensors, f"random {family}, seed {seed}")
    return replace(weights, tensors=tensors | {"w_avg": mean_latent(weights, widths.z)})


def untrained(weights: GeneratorWeights, seed: int = 0) -> GeneratorWeights:
    """Return a generator like `weights`, layer for layer, as before its training: the same for a seed everywhere."""
    stream = np.random.RandomState(seed)
    lr_multiplier = weights.settings.mapping_lr_multiplier
    tensors = {
        name: tensor if _is_given(name) else _drawn(name, tensor.shape, weights.family, stream, lr_multiplier)
        for name, tensor in sorted(weights.tensors.items())
    }
    if weights.family == STYLEGAN3:
        tensors |= {"input.style.bias": _AT_REST}
    drawn = replace(weights, tensors=tensors, origin=f"untrained, seed {seed}, like {weights.origin}")
    return replace(drawn, tensors=tensors | {"w_avg": mean_latent(drawn, check_weights(weights).z)})


def _is_given(name: str) -> bool:
    """Return whether a variable is none that is learnt: the waves, sizes and filters of a StyleGAN3."""
    return name.rpartition(".")[2] in ("freqs", "phases", "transform", "magnitude", "up_filter", "down_filter")


def _drawn(
    name: str, shape: tuple[int, ...], family: str, stream: np.random.RandomState, lr_multiplier: float = _LR_MULTIPLIER
) -> np.ndarray:
    deviation = _DEVIATIONS.get(name.rpartition(".")[2], 1.0)
    if name.startswith("mapping.") and name.endswith("weight"):
        deviation = 1 / lr_multiplier
    elif name == "input.style.weight":
        deviation = 0.0
    elif name.startswith("to_rgb") and "style" not in name:
        deviation *= 0.35  # keeps most of an image within [-1, 1]
    # The style of a StyleGAN1 is used with + 1, that of the others as it is.
    centre = 1.0 if family != STYLEGAN1 and name.endswith("style.bias") else 0.0
    return np.array(centre + deviation * stream.standard_normal(shape), np.float32)


def _of_alias_free_layers(
    settings: StyleGAN3Settings, waves: int, filters: list[Filters], stream: np.random.RandomState
) -> dict[str, np.ndarray]:
    """Return what is not learnt in a StyleGAN3 (waves drawn evenly from the band, filters), and an input at rest."""
    angle, phase = stream.uniform(0, 2 * np.pi, waves), stream.uniform(-0.5, 0.5, waves)
    radius = settings.bandwidth * np.sqrt(stream.uniform(0, 1, waves))
    values = {
        "input.freqs": radius[:, None] * np.stack([np.cos(angle), np.sin(angle)], 1),
        "input.phases": phase,
        "input.transform": np.eye(3),
        "input.style.bias": _AT_REST,
    }
    values |= {f"layer.{i}.magnitude": np.ones(()) for i in range(len(settings.layers))}
    for i, pair in enumerate(filters):
        values |= {f"layer.{i}.up_filter": pair.up, f"layer.{i}.down_filter": pair.down}
    return {name: np.array(value, np.float32) for name, value in values.items()}
