"""`i2s-batch bench`: the speed of the bare embedding loop on this machine."""

from __future__ import annotations

import json
from typing import Any

import click

from i2s_batch.config import PRECISIONS

# Random weights of the official widths: the layers of a StyleGAN3 of configuration R are twice as wide.
_FAMILIES: dict[str, dict[str, Any]] = {
    "stylegan1": {"family": "stylegan1"},
    "stylegan2": {"family": "stylegan2"},
    "stylegan3-t": {"family": "stylegan3"},
    "stylegan3-r": {"family": "stylegan3", "radial": True, "channel_max": 1024, "channel_base": 65536},
}


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
    type=click.IntRange(1),
    default=5,
    show_default=True,
    help="Timed stretches of each loop; the median counts.",
)
@click.option("--device", type=click.Choice(["cpu", "cuda"]), default="cpu", show_default=True)
@click.option("--precision", type=click.Choice(PRECISIONS), default="fp32", show_default=True)
@click.option("--compile/--no-compile", default=False, show_default=True, help="As of embed.")
@click.option("--price-per-hour", type=click.FloatRange(0, min_open=True), default=None, help="Of the device.")
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
) -> int:
    """Measure seconds a step and image, FLOP a step, and the fraction of this machine's matrix rate, beside a
    plain loop of one image in the same precision; and the start-up. The last line is JSON."""
    import time

    from i2s_batch.bench.loop import check_device, measure_loop
    from i2s_batch.cli.run import say
    from i2s_batch.inversion.memory import keep_freed_memory
    from i2s_batch.inversion.numerics import map_dtype, set_numerics
    from i2s_batch.models import build_generator, build_vgg, random_generator, random_vgg
    from i2s_batch.runtime.device import device_name
    from i2s_batch.runtime.remembered import Measured, remember
    from i2s_batch.runtime.weights import generator_weights

    check_device(device)
    keep_freed_memory()  # as a worker does; the plain loop has it too, in the same process
    dtype, maps = set_numerics(precision), map_dtype(precision)
    begun = time.perf_counter()
    if generator:
        weights = generator_weights(generator)
    else:
        weights = random_generator(resolution=resolution, **_FAMILIES[family])
    loaded = time.perf_counter()
    network, features = build_generator(weights, device, dtype, maps), build_vgg(random_vgg(), device, dtype, maps)
    built = time.perf_counter()
    figures = measure_loop(network, features, batch_size, pairs, compile)
    seconds = figures.seconds_per_step_and_image
    used = device_name(network.w_avg.device)
    remember(Measured(used, weights.fingerprint, precision, batch_size, seconds), say)
    an_hour = 3600 / (5000 * seconds)
    cost = None if price_per_hour is None else price_per_hour / an_hour
    start = {"load_s": loaded - begun, "build_s": built - loaded, "first_step_s": figures.first_step_s}
    peak = figures.peak_bytes
    table = {
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
        "5000 steps": f"{5000 * seconds:.0f} s an image, {an_hour:.2f} images an hour",
        "cost": "give --price-per-hour" if cost is None else f"{cost:.4f} an image",
        "start-up": ", ".join(f"{name.removesuffix('_s')} {value:.1f} s" for name, value in start.items()),
    }
    for name, value in table.items():
        click.echo(f"{name:<21}  {value}")
    click.echo(json.dumps(figures.as_json() | start | {"precision": precision, "cost_per_image": cost}))
    return 0
