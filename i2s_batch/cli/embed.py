"""`i2s-batch embed`: pictures into a table of latents."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import click

from i2s_batch.cli.options import run_options
from i2s_batch.config import FITS, INITS, SPACES, EmbedConfig, RunConfig
from i2s_batch.errors import I2SError

if TYPE_CHECKING:
    from i2s_batch.models import GeneratorWeights


@click.command()
@click.argument("source")
@click.argument("out")
@click.option("--generator", required=True, help="StyleGAN checkpoint: a path, s3:// or https://.")
@click.option("--vgg", default="imagenet", show_default=True, help="VGG-16 weights: imagenet, random, path or URL.")
@click.option("--steps", default=5000, show_default=True, help="Adam steps an image.")
@click.option("--space", type=click.Choice(SPACES), default="w+", show_default=True, help="Latent space.")
@click.option("--init", type=click.Choice(INITS), default="mean", show_default=True, help="mean suits faces.")
@click.option("--seed", default=0, show_default=True, help="Of random starts.")
@click.option("--fit", type=click.Choice(FITS), default="crop", show_default=True, help="To the square.")
@click.option(
    "--stop-plateau",
    type=float,
    default=None,
    metavar="PERCENT",
    help="End an image early whose best loss gained less than this in --plateau-steps.",
)
@click.option("--plateau-steps", default=250, show_default=True, help="Of --stop-plateau.")
@click.option("--checkpoint-every", default=60.0, show_default=True, metavar="SECONDS", help="Save images in flight.")
@click.option("--grow", is_flag=True, help="Embed what is new or has changed in SOURCE since the run was planned.")
@run_options
def embed(source: str, out: str, generator: str, vgg: str, dry_run: bool, **options: object) -> int:
    """Embed the pictures of SOURCE and write one row for each into OUT.

    SOURCE is a folder, a glob, a picture, an s3:// prefix, or a list (.txt, .csv, .jsonl, .parquet). OUT is a
    folder or an s3:// prefix. Run the same command again to go on with a run that was stopped.
    """
    config = _config(options)
    from i2s_batch.cli.run import execute, say, voice
    from i2s_batch.runtime.embed import EmbedJob, EmbedRun

    run = EmbedRun(EmbedJob(source, out, generator, vgg, config), voice())
    if dry_run:
        click.echo(json.dumps(run.describe(), indent=2))
        return 0
    outcome = execute(lambda cluster, _: run.execute(cluster))
    counts = ", ".join(f"{n} {status}" for status, n in outcome.summary["statuses"].items())
    click.echo(f"{outcome.summary['images']} images: {counts}. Table: {out.rstrip('/')}/latents/")
    _report(out, run.generator)
    if outcome.acceptable:
        return 0
    limit = config.max_failed_fraction
    say(f"i2s-batch: {outcome.failed} images failed, more than --max-failed-fraction {limit} allows")
    return 1


def _report(out: str, generator: GeneratorWeights) -> None:
    """Write the report. The table is what the run was for: a report that fails does not make the run fail."""
    from i2s_batch.cli.run import say
    from i2s_batch.report.page import write_report

    try:
        click.echo(f"Report: {write_report(out, generator)}")
    except I2SError as error:
        say(f"i2s-batch: no report was written ({error}); i2s-batch report {out} tries again")


def _config(options: dict[str, object]) -> RunConfig:
    embed_names = ("steps", "space", "init", "seed", "fit", "stop_plateau", "plateau_steps")
    embed_options = {name: options.pop(name) for name in embed_names}
    options["checkpoint_every_s"] = options.pop("checkpoint_every")
    return RunConfig(embed=EmbedConfig(**embed_options), **options)  # type: ignore[arg-type]
