"""`i2s-batch bench`: the speed of the bare embedding loop on this machine."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING

import click

from i2s_batch.cli.options import refuse_without_effect
from i2s_batch.config import PRECISIONS

if TYPE_CHECKING:
    import numpy as np

    from i2s_batch.bench.loop import LoopFigures
    from i2s_batch.bench.quality import PrecisionFigures
    from i2s_batch.config import EmbedRunConfig, Json
    from i2s_batch.models import GeneratorWeights


@dataclass(frozen=True)
class _Widths:
    """Holds what random weights of a family are made with; None: as the family has it."""

    family: str
    radial: bool = False
    channel_max: int | None = None
    channel_base: int | None = None


@dataclass(frozen=True)
class _LoopReport:
    """Holds the figures of the step by itself, and of the start-up. `cost`: of an image; None if no price is known."""

    figures: LoopFigures
    load_s: float
    build_s: float
    precision: str
    cost: float | None

    def to_json(self) -> dict[str, Json]:
        """Return it as JSON values."""
        start: dict[str, Json] = {"load_s": self.load_s, "build_s": self.build_s}
        return self.figures.as_json() | start | {"precision": self.precision, "cost_per_image": self.cost}


@dataclass(frozen=True)
class _ImagesReport:
    """Holds the figures of each precision, and those of a run through Ray beside the bare engine."""

    quality: list[PrecisionFigures]
    run: dict[str, float]


# Random weights of the official widths: the layers of a StyleGAN3 of configuration R are twice as wide.
_FAMILIES = {
    "stylegan1": _Widths("stylegan1"),
    "stylegan2": _Widths("stylegan2"),
    "stylegan3-t": _Widths("stylegan3"),
    "stylegan3-r": _Widths("stylegan3", radial=True, channel_max=1024, channel_base=65536),
}
# Those that a device has of its own; the first is what the others are compared with.
_PRECISIONS = {"cpu": ("fp32", "fp64", "bf16"), "cuda": ("fp32", "tf32", "bf16", "fp64")}


@click.command()
@click.option("--generator", default=None, help="Checkpoint to measure with; default: random weights.")
@click.option(
    "--family",
    type=click.Choice(list(_FAMILIES)),
    default="stylegan1",
    show_default=True,
    help="Of the random weights.",
)
@click.option("--resolution", default=256, show_default=True, help="Of the random weights.")
@click.option("--batch-size", type=click.IntRange(1, 1024), default=4, show_default=True, help="Images side by side.")
@click.option(
    "--pairs",
    type=click.IntRange(1, 1000),
    default=5,
    show_default=True,
    help="Timed stretches of each loop; the median counts.",
)
@click.option("--device", type=click.Choice(["cpu", "cuda"]), default="cpu", show_default=True)
@click.option("--precision", type=click.Choice(PRECISIONS), default="fp32", show_default=True)
@click.option("--compile/--no-compile", default=False, show_default=True, help="As of embed.")
@click.option("--price-per-hour", type=click.FloatRange(0, min_open=True), default=None, help="Of the device.")
@click.option(
    "--pictures",
    metavar="SOURCE",
    default=None,
    help="Also, on these: the quality of each precision, and a run through Ray beside the engine. Needs --generator.",
)
@click.option("--steps", type=click.IntRange(1), default=300, show_default=True, help="An image, of --pictures.")
def bench(
    generator: str | None,
    family: str,
    resolution: int,
    batch_size: int,
    pairs: int,
    device: str,
    precision: str,
    compile: bool,
    price_per_hour: float | None,
    pictures: str | None,
    steps: int,
) -> int:
    """Measure seconds a step and image, FLOP a step, and the fraction of this machine's matrix rate, beside a
    plain loop of one image in the same precision; and the start-up. The last line is JSON."""
    from i2s_batch.bench.loop import check_device
    from i2s_batch.config import EmbedConfig, EmbedRunConfig
    from i2s_batch.errors import ConfigError
    from i2s_batch.inversion.memory import keep_freed_memory
    from i2s_batch.models import random_generator
    from i2s_batch.models.loading import generator_weights

    if generator:
        refuse_without_effect(["--family", "--resolution"], "with --generator, which has its own")
    if not pictures:
        refuse_without_effect(["--steps"], "without --pictures")
    if pictures and not generator:
        raise ConfigError("--pictures needs --generator: random weights embed nothing")
    check_device(device)
    decoded = []
    if pictures:  # before minutes of measuring, for what may be wrong with them
        from i2s_batch.bench.overhead import readable

        decoded = [picture for _, picture in readable(pictures)]
    keep_freed_memory()  # as a worker does; the plain loop has it too, in the same process

    def load() -> GeneratorWeights:
        if generator:
            return generator_weights(generator)
        return random_generator(resolution=resolution, **asdict(_FAMILIES[family]))

    embed = EmbedConfig(steps=steps, batch_size=batch_size, compile=compile)
    config = EmbedRunConfig(embed=embed, actors=1, batch_size=batch_size, device=device, precision=precision)
    found = _loop(load, config, pairs, price_per_hour).to_json()
    if pictures and generator:
        found |= asdict(_on_pictures(pictures, decoded, generator, config))
    click.echo(json.dumps(found))
    return 0


def _loop(
    load: Callable[[], GeneratorWeights], config: EmbedRunConfig, pairs: int, price_per_hour: float | None
) -> _LoopReport:
    """Measure the step by itself, on images of noise. Prints a table."""
    import time

    from i2s_batch.bench.loop import measure_loop
    from i2s_batch.cli.run_command import say
    from i2s_batch.inversion.numerics import feature_map_dtype, set_numerics
    from i2s_batch.models import build_generator, build_vgg, random_vgg
    from i2s_batch.run.device import device_name, software
    from i2s_batch.run.speed_cache import Measured, save_measured

    device, precision, batch_size = config.device, config.precision, config.embed.batch_size
    dtype, maps = set_numerics(precision), feature_map_dtype(precision)
    begun = time.perf_counter()
    weights = load()
    loaded = time.perf_counter()
    network, features = build_generator(weights, device, dtype, maps), build_vgg(random_vgg(), device, dtype, maps)
    built = time.perf_counter()
    figures = measure_loop(network, features, batch_size, pairs, config.embed.compile)
    seconds = figures.seconds_per_step_and_image
    used = device_name(network.w_avg.device)
    program = "compiled" if config.embed.compile else "plain"
    save_measured(Measured(used, weights.fingerprint, precision, batch_size, seconds, program, software()), say)
    an_hour = 3600 / (5000 * seconds)
    cost = None if price_per_hour is None else price_per_hour / an_hour
    start = {"load": loaded - begun, "build": built - loaded, "first_step": figures.first_step_s}
    for name, value in _rows(figures, precision).items():
        click.echo(f"{name:<21}  {value}")
    click.echo(f"{'5000 steps':<21}  {5000 * seconds:.0f} s an image, {an_hour:.2f} images an hour")
    click.echo(f"{'cost':<21}  {'give --price-per-hour' if cost is None else f'{cost:.4f} an image'}")
    said = ", ".join(f"{name} {value:.1f} s" for name, value in start.items())
    click.echo(f"{'start-up':<21}  {said}")
    return _LoopReport(figures, start["load"], start["build"], precision, cost)


def _rows(figures: LoopFigures, precision: str) -> dict[str, str]:
    batch_size, peak = figures.batch_size, figures.peak_bytes
    return {
        "device": f"{figures.device}, {figures.threads} threads, torch {figures.torch_version}, {precision}",
        "generator": f"{figures.family} at {figures.resolution}",
        "work": f"{figures.flop_per_step_and_image / 1e9:.1f} GFLOP a step and image",
        "matrix product": f"{figures.matrix_flop_per_s / 1e9:.1f} GFLOP/s",
        f"engine, batch {batch_size}": f"{figures.seconds_per_step_and_image:.4f} s a step and image",
        "plain loop, batch 1": f"{figures.plain_seconds_per_step:.4f} s a step",
        "speed-up": f"{figures.speedup:.2f}",
        "floor by operations": f"{figures.floor_by_operations_s:.4f} s a step and image",
        "floor by bytes": f"{figures.floor_by_bytes_s:.4f} s ({figures.bytes_per_step_and_image / 2**20:.0f} MiB at "
        f"{figures.memory_bytes_per_s / 1e9:.1f} GB/s, each operator's operands once)",
        "over the higher floor": f"{figures.over_floor:.2f}",
        "of the matrix rate": f"{figures.fraction_of_matrix_rate:.1%}",
        "peak memory": "not known here" if peak is None else f"{peak / batch_size / 2**20:.0f} MiB an image",
    }


def _on_pictures(source: str, pictures: list[np.ndarray], generator: str, config: EmbedRunConfig) -> _ImagesReport:
    """Measure the precisions, and a run of one worker beside the bare engine. Prints both."""
    import os
    import tempfile

    from i2s_batch.bench import overhead, quality
    from i2s_batch.embedding.embed_run import EmbedRunRequest
    from i2s_batch.models import random_vgg
    from i2s_batch.models.loading import VGG_RANDOM, generator_weights

    click.echo(f"\n{len(pictures)} pictures, {config.embed.steps} steps each, judged in fp32\n\n{quality.HEAD}")
    precisions = []
    for one in quality.measure(
        generator_weights(generator), random_vgg(), pictures, config.device, _PRECISIONS[config.device], config.embed
    ):
        click.echo(quality.line(one))
        precisions.append(one)
    with tempfile.TemporaryDirectory() as folder:
        request = EmbedRunRequest(source, f"{folder}/run", generator, VGG_RANDOM, config)
        *_, run = overhead.measure(overhead.Case(request, threads=os.cpu_count() or 1), rounds=1)
    click.echo(
        f"\nengine alone {run['engine_s']:.1f} s, through Ray {run['run_seconds']:.1f} s "
        f"({run['run_over_engine'] - 1:+.1%}; slots {run['run_occupancy']:.1%} full; before the first picture "
        f"{run['run_before_s']:.1f} s, after the last {run['run_after_s']:.1f} s)"
    )
    return _ImagesReport(precisions, run)
