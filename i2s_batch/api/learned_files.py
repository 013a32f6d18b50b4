"""Finds the learned file of an embedding run; without one it says how to make one, and what that costs."""

from __future__ import annotations

import math
import shlex
from dataclasses import replace
from typing import TypeVar

from i2s_batch.api.options import ImageOptions
from i2s_batch.argument_types import path_or_url
from i2s_batch.config import EmbedConfig, EmbedRunConfig
from i2s_batch.encoders.cost import evaluations_to_learn
from i2s_batch.encoders.learning import LearnConfig
from i2s_batch.errors import ConfigError
from i2s_batch.inversion.learned import Learned
from i2s_batch.inversion.learned_loading import load_learned
from i2s_batch.inversion.precision import device_precision
from i2s_batch.models import GeneratorWeights
from i2s_batch.models.loading import VGG_IMAGENET, generator_weights
from i2s_batch.plurals import counted
from i2s_batch.presets import preset
from i2s_batch.run.speed_cache import load_measured
from i2s_batch.run.terminal import duration
from i2s_batch.storage.urls import hide_secrets

_Config = TypeVar("_Config", bound=EmbedRunConfig)


def learned_location(options: ImageOptions) -> str:
    """Return the path or URL of the learned file that the options name; empty if they name none."""
    location = options.get("learned")
    return "" if location is None else path_or_url("learned", location)


def with_learned(config: _Config, location: str, generator: str, vgg: str) -> tuple[_Config, Learned | None]:
    """Return the settings with the fingerprint of the learned file at `location`, and what it holds.

    Args:
        config: The settings.
        location: A path or URL; empty without a learned file.
        generator: The path or URL of the generator, for the command that makes one.
        vgg: The VGG-16, likewise.

    Raises:
        ConfigError: The settings need a learned file and none is given, or the reverse.
        CheckpointError: The file cannot be read.
    """
    embed = config.embed
    if not location:
        if embed.uses_learned:
            raise ConfigError(_how_to_learn(config, generator, vgg))
        return config, None
    if not embed.uses_learned:
        advice = "leave it out, or give --preset fast, or one of --init learned, --optimizer lbfgs-learned and --prior"
        raise ConfigError(f"--learned has no effect with these settings; {advice}")
    learned = load_learned(location)
    return replace(config, embed=replace(embed, learned=learned.fingerprint)), learned


def _how_to_learn(config: EmbedRunConfig, generator: str, vgg: str) -> str:
    """Return the message of a run that needs a learned file: how to make one, and from when on it pays."""
    weights = generator_weights(generator)
    by_preset = config.preset and preset(config.preset).uses_learned
    what = f"--preset {config.preset}" if by_preset else config.embed.uses_learned
    words = ["i2s-batch", "learn", hide_secrets(generator), "learned.safetensors"]
    words += [] if vgg == VGG_IMAGENET else ["--vgg", hide_secrets(vgg)]
    evaluations = evaluations_to_learn(LearnConfig(), weights.latent_shape[1])
    usual = EmbedConfig().steps
    saved = usual - config.embed.steps
    pays = f"it pays from {counted(math.ceil(evaluations / saved), 'image')} on" if saved > 0 else "it saves no steps"
    cost = f"about {evaluations} evaluations{_time(weights, _precision(config), evaluations)}"
    compared = f"one image of the preset paper takes {usual}: {pays}"
    return (
        f"{what} needs a learned file; make one with `{shlex.join(words)}` ({cost}, where {compared}), and add "
        "--learned learned.safetensors"
    )


def _precision(config: EmbedRunConfig) -> str:
    """Return the precision that a new run would have here."""
    return device_precision(config.precision, config.device).precision


def _time(generator: GeneratorWeights, precision: str, evaluations: int) -> str:
    """Return how long so many evaluations take at the fastest speed that was measured here; empty without any."""
    fitting = [
        one.seconds
        for one in load_measured(lambda line: None)
        if (one.generator, one.precision) == (generator.fingerprint, precision)
    ]
    return f", {duration(evaluations * min(fitting))} here" if fitting else ""
