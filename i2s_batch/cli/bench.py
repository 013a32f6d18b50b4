"""`i2s-batch bench`: the speed of the bare embedding loop on this machine."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING

import click

from i2s_batch.cli.bench_edits import bench_edits
from i2s_batch.cli.help_groups import SPEED, GroupedCommand, option
from i2s_batch.cli.option_types import Price
from i2s_batch.cli.options import is_given, refuse_without_effect
from i2s_batch.config import PRECISIONS

if TYPE_CHECKING:
    import numpy as np

    from i2s_batch.bench.loop import LoopFigures
    from i2s_batch.bench.quality import PrecisionFigures
    from i2s_batch.config import EmbedRunConfig, Json
    from i2s_batch.models import GeneratorWeights

_NETWORKS, _MEASURED = "Networks", "What is measured"


@dataclass(frozen=True)
class _Widths:
    """Holds the settings of the random weights of a family; None stands for the family's own."""

    family: str
    radial: bool = False
    channel_max: int | None = None
    channel_base: int | None = None


@dataclass(frozen=True)
class _LoopReport:
    """Holds the figures of the step by itself and of the start-up; `cost` is that of an image, None without a price."""

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


class _Bench(GroupedCommand, click.Group):
    """Measures the loop by itself; other benches are commands below it."""

    def format_options(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the options under their headings, and then the commands."""
        super().format_options(ctx, formatter)
        self.format_commands(ctx, formatter)


@click.group(cls=_Bench, invoke_without_command=True)
@option(
    "--generator",
    group=_NETWORKS,
    metavar="CHECKPOINT",
    help="StyleGAN checkpoint: a path, s3://, https://, or a name of `weights list`. Default: random weights of "
    "--family.",
)
@option(
    "--family",
    group=_NETWORKS,
    type=click.Choice(list(_FAMILIES)),
    default="stylegan1",
    help="Architecture of a generator with random weights, at the official widths.",
)
@option(
    "--resolution",
    group=_NETWORKS,
    default=256,
    help="Side of the images of a generator with random weights, in pixels.",
)
@option(
    "--pairs",
    group=_MEASURED,
    type=click.IntRange(1, 1000),
    default=5,
    help="Number of timed stretches of each loop; their median counts.",
)
@option(
    "--price-per-hour",
    group=_MEASURED,
    type=Price(),
    default=None,
    help="Price of the device per hour, for the cost of an image. Default: no cost is estimated.",
)
@option(
    "--images",
    aliases=["--pictures"],
    group=_MEASURED,
    metavar="SOURCE",
    default=None,
    help="Images on which the quality of each precision, and a run through Ray beside the engine, are measured, too; "
    "needs --generator. Default: neither is measured.",
)
@option("--steps", group=_MEASURED, type=click.IntRange(1), default=300, help="Optimizer steps per image of --images.")
@option("--device", group=SPEED, type=click.Choice(["cpu", "cuda"]), default="cpu", help="Device that is measured.")
@option(
    "--precision",
    group=SPEED,
    type=click.Choice(PRECISIONS),
    default="fp32",
    help="Precision of the networks; tf32 and bf16 are faster on a GPU.",
)
@option("--batch-size", group=SPEED, type=click.IntRange(1, 1024), default=4, help="Images in a batch.")
@option("--compile/--no-compile", group=SPEED, default=False, help="Compile the step of a full batch.")
@option(
    "--tune",
    group=_MEASURED,
    is_flag=True,
    help="Measure step programs and batch sizes instead of the loop; a run with --batch-size auto takes the fastest.",
)
@option(
    "--tune-seconds",
    "tune_s",
    group=_MEASURED,
    type=click.FloatRange(1, 3600),
    default=240.0,
    metavar="SECONDS",
    help="Seconds after which --tune begins no further measurement.",
)
@click.pass_context
def bench(
    context: click.Context,
    generator: str | None,
    family: str,
    resolution: int,
    batch_size: int,
    pairs: int,
    device: str,
    precision: str,
    compile: bool,
    price_per_hour: float | None,
    images: str | None,
    steps: int,
    tune: bool,
    tune_s: float,
) -> int:
    """Measure the speed of the embedding loop on this machine.

    The loop is measured beside a plain loop of one image in the same precision: seconds per step and image, FLOP per
    step, the fraction of the machine's matrix rate, peak memory, and the start-up. `embed --dry-run` uses the measured
    speed. The last line is JSON.
    """
    if context.invoked_subcommand is not None:
        given = [each.opts[0] for each in context.command.params if is_given(each.opts[0])]
        refuse_without_effect(given, f"on {context.invoked_subcommand!r}, which has options of its own")
        return 0
    from i2s_batch.cli.run_command import shown_at_once

    with shown_at_once("loading PyTorch"):
        from i2s_batch.bench.loop import check_device
    from i2s_batch.config import EmbedConfig, EmbedRunConfig
    from i2s_batch.errors import ConfigError
    from i2s_batch.inversion.memory import keep_freed_memory
    from i2s_batch.models import random_generator
    from i2s_batch.models.loading import generator_weights

    _refuse_unused(generator, images, tune)
    if images and not generator:
        raise ConfigError("--images needs --generator: random weights embed nothing")
    check_device(device)
    decoded = []
    if images:  # read before minutes of measuring, in case one is unreadable
        from i2s_batch.bench.overhead import readable

        decoded = [image for _, image in readable(images)]
    keep_freed_memory()  # as a worker does; the plain loop has it too, in the same process

    def load() -> GeneratorWeights:
        if generator:
            return generator_weights(generator)
        return random_generator(resolution=resolution, **asdict(_FAMILIES[family]))

    if tune:
        click.echo(json.dumps(_ladder(load(), device, precision, tune_s)))
        return 0
    embed = EmbedConfig(steps=steps, batch_size=batch_size, compile=compile)
    config = EmbedRunConfig(embed=embed, actors=1, batch_size=batch_size, device=device, precision=precision)
    found = _loop(load, config, pairs, price_per_hour).to_json()
    if images and generator:
        found |= asdict(_on_images(images, decoded, generator, config))
    click.echo(json.dumps(found))
    return 0


def _refuse_unused(generator: str | None, images: str | None, tune: bool) -> None:
    """Raise ConfigError for options that have no effect beside others."""
    if generator:
        refuse_without_effect(["--family", "--resolution"], "with --generator, which has its own")
    if not images:
        refuse_without_effect(["--steps"], "without --images")
    if tune:
        ignored = ["--pairs", "--price-per-hour", "--images", "--batch-size", "--compile", "--no-compile"]
        refuse_without_effect(ignored, "with --tune, which chooses for itself")
    else:
        refuse_without_effect(["--tune-seconds"], "without --tune")


def _ladder(weights: GeneratorWeights, device: str, precision: str, seconds: float) -> dict[str, Json]:
    """Measure step programs with the settings of the paper, print a line each, and return them as JSON values."""
    from i2s_batch.config import EmbedConfig
    from i2s_batch.embedding.engine import Engine
    from i2s_batch.inversion.tuning import LARGEST_BATCH_SIZE
    from i2s_batch.models import random_vgg
    from i2s_batch.run.device import device_name

    embed = EmbedConfig()
    engine = Engine(weights, random_vgg(), device, precision)
    tuning = engine.climb(embed, LARGEST_BATCH_SIZE, seconds)
    for each in tuning.trials:
        figure = f"not used: {each.failure}"
        if each.seconds is not None:
            figure = f"{1000 * each.seconds:9.3f} ms per step and image, {embed.steps * each.seconds:.1f} s an image"
        click.echo(f"{each.candidate!s:<40}  {figure}")
    click.echo(f"{'chosen':<40}  {tuning.chosen} ({tuning.ended})")
    trials: list[Json] = []
    for one in tuning.trials:
        program, size = one.candidate.program.name, one.candidate.batch_size
        trials.append({"program": program, "batch_size": size, "seconds": one.seconds, "failure": one.failure})
    chosen: dict[str, Json] = {"program": tuning.chosen.program.name, "batch_size": tuning.chosen.batch_size}
    used: dict[str, Json] = {"device": device_name(engine.device), "precision": precision, "ended": tuning.ended}
    return used | {"chosen": chosen, "trials": trials}


def _loop(
    load: Callable[[], GeneratorWeights], config: EmbedRunConfig, pairs: int, price_per_hour: float | None
) -> _LoopReport:
    """Measure the step by itself, on images of noise, and print a table."""
    import time

    from i2s_batch.bench.loop import measure_loop
    from i2s_batch.cli.run_command import log_line
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
    save_measured(Measured(used, weights.fingerprint, precision, batch_size, seconds, program, software()), log_line)
    an_hour = 3600 / (5000 * seconds)
    cost = None if price_per_hour is None else price_per_hour / an_hour
    start = {"load": loaded - begun, "build": built - loaded, "first_step": figures.first_step_s}
    for name, value in _rows(figures, precision).items():
        click.echo(f"{name:<21}  {value}")
    click.echo(f"{'5000 steps':<21}  {5000 * seconds:.0f} s per image, {an_hour:.2f} images per hour")
    click.echo(f"{'cost':<21}  {'give --price-per-hour' if cost is None else f'{cost:.4f} per image'}")
    times = ", ".join(f"{name} {value:.1f} s" for name, value in start.items())
    click.echo(f"{'start-up':<21}  {times}")
    return _LoopReport(figures, start["load"], start["build"], precision, cost)


def _rows(figures: LoopFigures, precision: str) -> dict[str, str]:
    batch_size, peak = figures.batch_size, figures.peak_bytes
    return {
        "device": f"{figures.device}, {figures.threads} threads, torch {figures.torch_version}, {precision}",
        "generator": f"{figures.family} at {figures.resolution}",
        "work": f"{figures.flop_per_step_and_image / 1e9:.1f} GFLOP per step and image",
        "matrix product": f"{figures.matrix_flop_per_s / 1e9:.1f} GFLOP/s",
        f"engine, batch {batch_size}": f"{figures.seconds_per_step_and_image:.4f} s per step and image",
        "plain loop, batch 1": f"{figures.plain_seconds_per_step:.4f} s per step",
        "speed-up": f"{figures.speedup:.2f}",
        "floor by operations": f"{figures.floor_by_operations_s:.4f} s per step and image",
        "floor by bytes": f"{figures.floor_by_bytes_s:.4f} s ({figures.bytes_per_step_and_image / 2**20:.0f} MiB at "
        f"{figures.memory_bytes_per_s / 1e9:.1f} GB/s, each operator's operands once)",
        "over the higher floor": f"{figures.over_floor:.2f}",
        "of the matrix rate": f"{figures.fraction_of_matrix_rate:.1%}",
        "peak memory": "not known here" if peak is None else f"{peak / batch_size / 2**20:.0f} MiB per image",
    }


def _on_images(source: str, images: list[np.ndarray], generator: str, config: EmbedRunConfig) -> _ImagesReport:
    """Measure the precisions, and a run of one worker beside the bare engine, and print both."""
    import os
    import tempfile

    from i2s_batch.bench import overhead, quality
    from i2s_batch.embedding.embed_run import EmbedRunRequest
    from i2s_batch.models import random_vgg
    from i2s_batch.models.loading import VGG_RANDOM, generator_weights

    click.echo(f"\n{len(images)} images, {config.embed.steps} steps each, evaluated in fp32\n\n{quality.HEAD}")
    precisions = []
    for one in quality.measure(
        generator_weights(generator), random_vgg(), images, config.device, _PRECISIONS[config.device], config.embed
    ):
        click.echo(quality.line(one))
        precisions.append(one)
    with tempfile.TemporaryDirectory() as folder:
        request = EmbedRunRequest(source, f"{folder}/run", generator, VGG_RANDOM, config)
        *_, run = overhead.measure(overhead.Case(request, threads=os.cpu_count() or 1), rounds=1)
    click.echo(
        f"\nengine alone {run['engine_s']:.1f} s, through Ray {run['run_seconds']:.1f} s "
        f"({run['run_over_engine'] - 1:+.1%}; batch occupancy {run['run_occupancy']:.1%}; before the first image "
        f"{run['run_before_s']:.1f} s, after the last {run['run_after_s']:.1f} s)"
    )
    return _ImagesReport(precisions, run)


bench.add_command(bench_edits)
