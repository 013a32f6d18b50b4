"""Measures one case of `bench.gpu`, in a process of its own which that starts, and prints its line of JSON."""

from __future__ import annotations

import contextlib
import fcntl
import json
import statistics
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path

import numpy as np
import torch

from i2s_batch.bench.loop import matrix_rate, plain_loop
from i2s_batch.bench.peak import peak_memory
from i2s_batch.bench.traffic import memory_rate, timed
from i2s_batch.config import EmbedConfig, Json
from i2s_batch.inversion import Embedder
from i2s_batch.inversion.metrics import to_uint8
from i2s_batch.inversion.numerics import feature_map_dtype, set_numerics
from i2s_batch.models import VGG16, Generator, GeneratorWeights, VGGWeights, build_generator, build_vgg
from i2s_batch.models import random_generator as drawn_generator
from i2s_batch.models import random_vgg as drawn_vgg

STRETCHES = 5
STRETCH_STEPS = 20  # of one image; fewer of a batch
IMAGE_STEPS = 5000  # of one image in W+, for seconds an image
UNTIMED_STEPS = 6  # a graph is warmed up and captured in them
# Programs: the machine's rates, the loop that one writes in a notebook, and the engine's ways.
RATES, NOTEBOOK, EAGER, CHOSEN, COMPILED = "rates", "notebook loop", "eager", "as chosen", "compiled"
_COMPILE = {EAGER: False, CHOSEN: None, COMPILED: True}


@dataclass(frozen=True)
class Case:
    """Describes one measurement.

    Attributes:
        program: RATES, NOTEBOOK, EAGER, CHOSEN or COMPILED.
        precision: The precision.
        batch_size: Images in a batch.
        family: The architecture of the generator.
        limit_s: Seconds after which its process is ended.
    """

    program: str
    precision: str = "fp32"
    batch_size: int = 1
    family: str = "stylegan1"
    limit_s: float = 90.0

    @property
    def name(self) -> str:
        """Return it in a few words, unique among the cases of a run."""
        return (
            self.program
            if self.program == RATES
            else f"{self.family} {self.precision} {self.program} {self.batch_size}"
        )


@dataclass(frozen=True)
class Bench:
    """Describes what all cases have in common.

    Attributes:
        device: cuda or cpu.
        resolution: Side of the images, in pixels.
        width: Dimension of w.
        channel_base: Scale of the numbers of channels; None for the official one.
        steps: Optimiser steps after which the losses are compared with float32's.
        lock: The file that a case locks while it takes times.
    """

    device: str
    resolution: int
    width: int
    channel_base: int | None
    steps: int
    lock: str


def networks(generator: GeneratorWeights, vgg: VGGWeights, device: str, precision: str) -> tuple[Generator, VGG16]:
    """Return the networks on the device, in `precision`."""
    dtype, maps = set_numerics(precision), feature_map_dtype(precision)
    return build_generator(generator, device, dtype, maps), build_vgg(vgg, device, dtype, maps)


def measure(case: Case, bench: Bench) -> dict[str, Json]:
    """Return the figures of a case."""
    if case.program == RATES:
        return _rates(bench)
    weights = drawn_generator(case.family, bench.resolution, width=bench.width, channel_base=bench.channel_base)
    generator, vgg = networks(weights, drawn_vgg(), bench.device, case.precision)
    of_loop = _notebook if case.program == NOTEBOOK else _engine
    return of_loop(case, bench, generator, vgg)


def _rates(bench: Bench) -> dict[str, Json]:
    """Return what the machine can do: each precision's products are measured in its own dtype."""
    device = torch.device(bench.device)
    with _alone(bench):
        figures: dict[str, Json] = {"memory_bytes_per_s": memory_rate(device)}
        for precision in ("fp32", "tf32", "bf16"):
            dtype = feature_map_dtype(precision) or set_numerics(precision)
            set_numerics(precision)
            figures[f"matrix_{precision}_flop_per_s"] = matrix_rate(torch.empty(0, dtype=dtype, device=device))
    name = torch.cuda.get_device_name(device) if device.type == "cuda" else "cpu"
    return figures | {"device": name, "torch": torch.__version__, "cudnn": torch.backends.cudnn.version()}


def _image(generator: Generator, seed: int) -> np.ndarray:
    """Return an image that the generator draws, uint8 [R, R, 3], the same in every precision but for rounding."""
    z = torch.from_numpy(np.random.default_rng(seed).standard_normal((1, generator.z_dim))).to(generator.w_avg)
    with torch.no_grad():
        return to_uint8(generator.synthesize(generator.map(z))[0])


def _notebook(case: Case, bench: Bench, generator: Generator, vgg: VGG16) -> dict[str, Json]:
    losses: list[float] = []
    loop = plain_loop(generator, vgg, _image(generator, 0), losses.append)
    device = generator.w_avg.device
    begun = time.perf_counter()
    loop(1)
    first = time.perf_counter() - begun
    loop(bench.steps)
    figures = _timed(bench, partial(loop, STRETCH_STEPS), STRETCH_STEPS, device)
    return figures | {"batch_size": 1, "first_step_s": first, "losses": [losses[0], losses[bench.steps]]}


def _engine(case: Case, bench: Bench, generator: Generator, vgg: VGG16) -> dict[str, Json]:
    config = EmbedConfig(batch_size=case.batch_size, compile=_COMPILE[case.program])
    embedder = Embedder(generator, vgg, config)
    for index in range(case.batch_size):
        if embedder.free:  # the batch is smaller where its memory was not enough
            embedder.put(str(index), _image(generator, index))

    def advance(steps: int) -> None:
        numbers = iter(range(1, steps + 1))
        embedder.advance(stop=lambda: next(numbers) == steps)

    device = generator.w_avg.device
    begun = time.perf_counter()
    peak = peak_memory(partial(advance, 1), device)
    first = time.perf_counter() - begun
    advance(max(bench.steps, UNTIMED_STEPS))
    size = embedder.capacity
    stretch = max(2, STRETCH_STEPS // size)
    figures = _timed(bench, partial(advance, stretch), stretch * size, device)
    curve = embedder.slots.losses(0)[[0, bench.steps]].tolist()
    return figures | {
        "batch_size": size,  # that of the steps which were timed
        "first_step_s": first,
        "peak_bytes": peak,
        "step_program": embedder.program.name,
        "losses": curve,
        "warning": embedder.take_warning(),
    }


def _timed(bench: Bench, work: Callable[[], object], steps: int, device: torch.device) -> dict[str, Json]:
    """Return seconds a step and image of `work`, which makes so many: the least and the median of some stretches."""
    with _alone(bench):
        times = [timed(work, device) / steps for _ in range(STRETCHES)]
    least = min(times)
    return {"s_min": least, "s_median": statistics.median(times), "s_image": IMAGE_STEPS * least}


@contextlib.contextmanager
def _alone(bench: Bench) -> Iterator[None]:
    """Take times while no other case does."""
    with Path(bench.lock).open("a") as lock:  # it is given back when the file is closed
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def main() -> None:
    """Measure the case that the argument describes; print its figures, or its error, as the last line."""
    given = json.loads(sys.argv[1])
    case, bench = Case(**given["case"]), Bench(**given["bench"])
    try:
        figures = measure(case, bench)
    except torch.OutOfMemoryError:
        figures = {"error": "too little memory"}
    except (RuntimeError, ValueError, OSError, ImportError) as error:  # of a library: the other cases may work
        figures = {"error": f"{type(error).__name__}: {' '.join(str(error).split())[:300]}"}
    print(json.dumps({"case": case.name} | asdict(case) | figures), flush=True)
