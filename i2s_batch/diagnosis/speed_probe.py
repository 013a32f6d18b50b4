"""Measures the step of an embedding, plain and as a run would take it, in a process of its own."""

from __future__ import annotations

import itertools
import time
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from i2s_batch.config import EmbedConfig, EmbedRunConfig, ImageSettings
from i2s_batch.inversion.learned import Learned
from i2s_batch.inversion.step_program import PLAIN
from i2s_batch.inversion.tuning import Candidate
from i2s_batch.models import GeneratorWeights, VGGWeights

if TYPE_CHECKING:
    from i2s_batch.embedding.engine import Engine

STEPS = 20
PATIENCE_S = 60.0  # for the steps of one kind; at least one is timed
_SHORT = 2  # steps of an image that is embedded to its end


@dataclass(frozen=True)
class SpeedAsked:
    """Holds what is measured: networks and settings, and the worker that a run would start.

    Attributes:
        threads: The CPU threads of the worker; None leaves PyTorch's choice.
        most_slots: The most images that a batch may have.
    """

    generator: GeneratorWeights
    vgg: VGGWeights
    config: EmbedRunConfig
    learned: Learned | None
    device: str
    threads: int | None
    most_slots: int


@dataclass(frozen=True)
class Speed:
    """Holds what was measured.

    Attributes:
        device: The device's name.
        batch_size: The images in a batch, as a run would have them.
        program: The name of the step program, likewise.
        plain_s: The seconds of a plain step of one image.
        seconds: The seconds of a step and image as a run would take them.
        image_s: The seconds that an image takes beside its steps: the last evaluation, and the metrics.
        build_s: The seconds that building the networks took, and the first step, which may be compiled.
        steps: How many steps were timed.
        software: The versions that the figures depend on.
        warning: What the compiler could not do; empty if nothing.
    """

    device: str
    batch_size: int
    program: str
    plain_s: float
    seconds: float
    image_s: float
    build_s: float
    steps: int
    software: str
    warning: str = ""


def measure(asked: SpeedAsked) -> Speed:
    """Return the speed of one worker."""
    import torch

    from i2s_batch.embedding.engine import Engine
    from i2s_batch.inversion.memory import keep_freed_memory
    from i2s_batch.run.device import device_errors, device_name, software

    keep_freed_memory()
    if asked.threads is not None:
        torch.set_num_threads(asked.threads)
    began = time.perf_counter()
    with device_errors(1):
        engine = Engine(asked.generator, asked.vgg, asked.device, asked.config.precision, asked.learned)
        built_s = time.perf_counter() - began
        endless = _endless(asked.config.embed)
        # What a run has measured here decides; to measure it now would take minutes.
        tuned = None if asked.config.batch_size else engine.tune(endless, asked.most_slots, seconds=0).chosen
        size = asked.config.batch_size if tuned is None else tuned.batch_size
        size = max(1, min(size or 1, asked.most_slots))
        _, plain_s, _, _, _ = _timed(engine, replace(endless, compile=False), 1, None)
        first_s, seconds, steps, program, warning = _timed(engine, endless, size, tuned)
        image_s = _rest_of_image(engine, replace(endless, compile=False, steps=_SHORT), plain_s)
        name = device_name(engine.device)
    return Speed(name, size, program, plain_s, seconds, image_s, built_s + first_s, steps, software(), warning)


def _endless(embed: EmbedConfig) -> EmbedConfig:
    """Return the settings with which no image ends while it is timed."""
    steps = max(embed.steps, 50 * STEPS)
    return replace(embed, steps=steps, stop_plateau=None, target_loss=None, target_psnr=None, noise_steps=0)


def _pixels(resolution: int, seed: int) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (resolution, resolution, 3), dtype=np.uint8)


def _timed(
    engine: Engine, embed: EmbedConfig, size: int, tuned: Candidate | None
) -> tuple[float, float, int, str, str]:
    """Time steps of a full batch.

    Returns:
        The seconds of the first step; those of a step and image after it; the steps that were timed; the program; and
        what the compiler could not do.
    """
    embedder = engine.embedder(ImageSettings(embed), size, None if tuned is None else tuned.program)
    for number in range(size):
        embedder.put(str(number), _pixels(engine.resolution, number))
    began = time.perf_counter()
    embedder.advance(stop=lambda: True)
    _wait(engine)
    first_s = time.perf_counter() - began
    numbers, began = itertools.count(1), time.perf_counter()
    made = 0

    def enough() -> bool:
        nonlocal made
        made = next(numbers)
        return made >= STEPS or time.perf_counter() - began > PATIENCE_S

    embedder.advance(stop=enough)
    _wait(engine)
    seconds = (time.perf_counter() - began) / made / size
    warning = embedder.take_warning()
    return first_s, seconds, made, PLAIN.name if warning else embedder.program.name, warning


def _wait(engine: Engine) -> None:
    """Wait until the device has done what it was given."""
    import torch

    if engine.device.type == "cuda":
        torch.cuda.synchronize(engine.device)


def _rest_of_image(engine: Engine, embed: EmbedConfig, step_s: float) -> float:
    """Return the seconds that an image takes beside its steps; the second one is timed, since the first warms up."""
    embedder = engine.embedder(ImageSettings(embed), 1)
    took = 0.0
    for number in range(2):
        began = time.perf_counter()
        embedder.put(str(number), _pixels(engine.resolution, number))
        while not embedder.advance():
            pass
        took = time.perf_counter() - began
    return max(0.0, took - embed.steps * step_s)
