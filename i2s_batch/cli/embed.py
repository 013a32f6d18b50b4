"""`i2s-batch embed`: images into a table of latents."""

from __future__ import annotations

import json
import shlex
from typing import Any

import click

from i2s_batch.cli.help_groups import INPUT, RUN, GroupedCommand, option
from i2s_batch.cli.option_types import Price
from i2s_batch.cli.options import (
    align_options,
    embed_options,
    embed_run_options,
    min_size_option,
    noise_options,
    refuse_without_effect,
    run_arguments,
    source_options,
)
from i2s_batch.config import EmbedRunConfig, Json


@click.command(cls=GroupedCommand)
@click.argument("source")
@click.argument("out")
@embed_options
@source_options
@align_options
@option(
    "--sample",
    group=INPUT,
    type=click.IntRange(1),
    default=None,
    metavar="N",
    help="Take only N images, drawn at random by --seed; a larger sample holds the smaller one. Default: all.",
)
@min_size_option
@option(
    "--dedupe",
    group=INPUT,
    is_flag=True,
    help="Embed only the first of images with the same bytes; the others get rows with its result. Every file is read "
    "once before the run.",
)
@option(
    "--update",
    group=RUN,
    aliases=["--grow"],
    is_flag=True,
    help="Update the table incrementally: embed what is new or has changed in SOURCE since the run was planned.",
)
@noise_options
@embed_run_options
@option(
    "--price-per-hour",
    group=RUN,
    type=Price(),
    default=None,
    help="Price of one worker per hour, for the estimate of --dry-run. Default: no cost is estimated.",
)
def embed(
    source: str, out: str, generator: str, vgg: str, dry_run: bool, price_per_hour: float | None, **options: Any
) -> int:
    """Embed images: one row with a W+ latent per image.

    SOURCE is a folder, a glob pattern, an image, an s3:// prefix, an archive or several (.tar, .zip, also in a folder
    or as 'data-{000..099}.tar'), Parquet files that hold images, or a list of images (.txt, .csv, .json, .jsonl,
    .parquet).
    OUT is the folder or s3:// prefix that gets the table, new or of the run that is to be resumed.

    Run the same command again to resume a run that was stopped.
    """
    if not dry_run:
        refuse_without_effect(["--price-per-hour"], "without --dry-run, which estimates the cost")
    arguments = {"generator": generator, "vgg": vgg} | run_arguments(**options)
    from i2s_batch.cli.run_command import caller, ended, line_logger, resumable

    report = line_logger()
    with resumable("looking at SOURCE and OUT"):
        asked_by = caller(options["overwrite"] and not dry_run, options["yes"])
        from i2s_batch.api import embedding_runs

        if dry_run:
            preview, config, fingerprint = embedding_runs.preview_embed(source, out, progress=report, **arguments)
            expected = _expected(fingerprint, (generator, vgg), config, preview.images_to_do, price_per_hour)
            click.echo(json.dumps(preview.to_json() | {"expected": expected}, indent=2))
            return 0
        result = embedding_runs.embed(source, out, progress=report, caller=asked_by, **arguments)
    click.echo(f"{result.counted('image')}. Table: {out.rstrip('/')}/latents/")
    return ended(result, "images")


def _expected(
    fingerprint: str, networks: tuple[str, str], config: EmbedRunConfig, images: int, price: float | None
) -> Json:
    """Return the time and cost of `images`, estimated from what was measured on this machine."""
    from i2s_batch.cli.run_command import log_line
    from i2s_batch.run.estimates import Work, estimates
    from i2s_batch.run.speed_cache import load_measured
    from i2s_batch.storage.urls import hide_secrets

    known = estimates(load_measured(log_line), Work.of(fingerprint, config, images), config.actors, price)
    if known:
        return [one.to_json() for one in known]
    generator, vgg = map(hide_secrets, networks)
    doctor = ["i2s-batch", "doctor", "--generator", generator, "--vgg", vgg, "--precision", config.precision]
    return f"no measured speed is cached for this generator and precision; measure it with: {shlex.join(doctor)}"
