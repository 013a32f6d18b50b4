"""Measures the speed of the engine's loop, beside a matrix product and a plain loop of one image, in one run.

The work of a step is counted, not estimated: PyTorch's FLOP counter sees every convolution and matrix product of the
forward and backward pass. The fraction of the machine's matrix rate shows how much faster a loop could be.
"""

from __future__ import annotations

import platform
import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import numpy as np
import torch
from torch.utils.flop_counter import FlopCounterMode

from i2s_batch.bench.peak import peak_memory
from i2s_batch.bench.traffic import CountedBytes, memory_rate, timed
from i2s_batch.config import EmbedConfig, Json
from i2s_batch.errors import ConfigError
from i2s_batch.inversion import Embedder
from i2s_batch.inversion.loss import Features, loss_terms
from i2s_batch.inversion.metrics import from_uint8
from i2s_batch.models import Generator

# Steps of one timed stretch, and pairs of stretches (ours, plain, ours, plain, ...).
STRETCH_STEPS = 4


@dataclass(frozen=True)
class LoopFigures:
    """Holds the figures of a loop; seconds are medians over the stretches, rates are per second.

    Attributes:
        peak_bytes: Memory of the engine's step and its optimiser, beside the networks; None if not known.
    """

    device: str
    torch_version: str
    threads: int
    family: str
    resolution: int
    batch_size: int
    flop_per_step_and_image: float
    bytes_per_step_and_image: int
    matrix_flop_per_s: float
    memory_bytes_per_s: float
    first_step_s: float
    seconds_per_step_and_image: float
    plain_seconds_per_step: float
    peak_bytes: int | None

    @property
    def flop_per_s(self) -> float:
        """Return the FLOP per second that the engine achieves."""
        return self.flop_per_step_and_image / self.seconds_per_step_and_image

    @property
    def fraction_of_matrix_rate(self) -> float:
        """Return the fraction of the matrix rate; 1 would be a loop as fast as one large matrix product."""
        return self.flop_per_s / self.matrix_flop_per_s

    @property
    def speedup(self) -> float:
        """Return how many times the plain loop's images per second the engine makes."""
        return self.plain_seconds_per_step / self.seconds_per_step_and_image

    @property
    def floor_by_operations_s(self) -> float:
        """Return the seconds per step and image at the matrix rate."""
        return self.flop_per_step_and_image / self.matrix_flop_per_s

    @property
    def floor_by_bytes_s(self) -> float:
        """Return the seconds per step and image if all operands passed once at the memory rate; fusing lowers it."""
        return self.bytes_per_step_and_image / self.memory_bytes_per_s

    @property
    def over_floor(self) -> float:
        """Return the seconds per step over the higher floor; below 1 where caches or fusion save what is counted."""
        return self.seconds_per_step_and_image / max(self.floor_by_operations_s, self.floor_by_bytes_s)

    def as_json(self) -> dict[str, Json]:
        """Return everything, derived figures too."""
        derived = ("flop_per_s", "fraction_of_matrix_rate", "speedup", "floor_by_operations_s", "floor_by_bytes_s")
        return vars(self) | {name: getattr(self, name) for name in derived}


def check_device(device: str) -> None:
    """Raise ConfigError if PyTorch cannot use `device` on this machine."""
    if device == "cuda" and not torch.cuda.is_available():
        raise ConfigError("device is 'cuda', but PyTorch sees no GPU here; use --device cpu")


def measure_loop(
    generator: Generator, features: Features, batch_size: int, pairs: int, compile: bool | None = False
) -> LoopFigures:
    """Time the engine with `batch_size` images and a plain loop with one, in turn, `pairs` times."""
    device = generator.w_avg.device
    engine: list[Callable[[int], None]] = []

    def first_step() -> None:
        engine.append(_engine(generator, features, batch_size, compile))
        engine[0](1)

    begun = time.perf_counter()
    peak = peak_memory(first_step, device)
    first_step_s = time.perf_counter() - begun
    ours, plain = engine[0], plain_loop(generator, features, _noise_image(generator.resolution, 0))
    # The plain step is counted: the counters do not see what a compiled program does inside.
    one = _engine(generator, features, 1, compile=False)  # its target's features are no part of a step
    with FlopCounterMode(display=False) as counter, CountedBytes() as counted:
        one(1)
    plain(1)
    times: dict[str, list[float]] = {"ours": [], "plain": []}
    for _ in range(pairs):
        for name, loop in (("ours", ours), ("plain", plain)):
            times[name].append(timed(partial(loop, STRETCH_STEPS), device) / STRETCH_STEPS)
    return LoopFigures(
        device=torch.cuda.get_device_name(device) if device.type == "cuda" else platform.processor() or "cpu",
        torch_version=torch.__version__,
        threads=torch.get_num_threads(),
        family=generator.family,
        resolution=generator.resolution,
        batch_size=batch_size,
        flop_per_step_and_image=counter.get_total_flops(),
        bytes_per_step_and_image=counted.total,
        matrix_flop_per_s=matrix_rate(_like_activations(generator)),
        memory_bytes_per_s=memory_rate(device),
        first_step_s=first_step_s,
        seconds_per_step_and_image=statistics.median(times["ours"]) / batch_size,
        plain_seconds_per_step=statistics.median(times["plain"]),
        peak_bytes=peak,
    )


def matrix_rate(like: torch.Tensor) -> float:
    """Return the FLOP/s of a large square matrix product with the dtype and device of `like`: the median of seven."""
    size = 8192 if like.device.type == "cuda" else 2048
    a, b = (torch.randn(size, size, dtype=like.dtype, device=like.device) for _ in range(2))
    a @ b
    return 2 * size**3 / statistics.median(timed(lambda: a @ b, like.device) for _ in range(7))


def _like_activations(generator: Generator) -> torch.Tensor:
    """Return a tensor with the dtype of the activations on a GPU, whose products they are.

    On a CPU, which may have no instructions for bfloat16, it has that of everything else.
    """
    like = generator.w_avg
    return like.to(generator.activations) if like.device.type == "cuda" and generator.activations else like


def _noise_image(resolution: int, seed: int) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (resolution, resolution, 3), dtype=np.uint8)


def _engine(generator: Generator, features: Features, batch_size: int, compile: bool | None) -> Callable[[int], None]:
    """Return our loop, with images that never finish while it is measured."""
    embedder = Embedder(generator, features, EmbedConfig(batch_size=batch_size, compile=compile))
    for index in range(batch_size):
        embedder.put(str(index), _noise_image(generator.resolution, index))

    def loop(steps: int) -> None:
        numbers = iter(range(1, steps + 1))
        embedder.advance(stop=lambda: next(numbers) == steps)

    return loop


def _discard(loss: float) -> None:
    """Discard a loss: reading it is part of the loop that is measured."""


def plain_loop(
    generator: Generator, features: Features, image: np.ndarray, report: Callable[[float], None] = _discard
) -> Callable[[int], None]:
    """Return the loop that one writes in a notebook: one image, torch.optim.Adam, the loss read in every step."""
    target = from_uint8(image, generator.w_avg)[None]
    with torch.no_grad():
        target_features = features(target)
    w = generator.w_avg.expand(1, generator.num_layers, -1).clone().requires_grad_()
    optimiser = torch.optim.Adam([w], lr=0.01)

    def loop(steps: int) -> None:
        for _ in range(steps):
            optimiser.zero_grad()
            image = generator.synthesize(w)
            loss = loss_terms(image, target, features(image), target_features).sum()
            loss.backward()
            optimiser.step()
            report(loss.item())

    return loop
