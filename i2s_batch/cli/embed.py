"""`i2s-batch embed`: pictures into a table of latents."""

from __future__ import annotations

import json
import shlex
from typing import Any

import click

from i2s_batch.cli.options import (
    embed_options,
    refuse_without_effect,
    run_options,
    source_options,
    take_embed_config,
    take_source_options,
)
from i2s_batch.config import EmbedRunConfig, Json


@click.command()
@click.argument("source")
@click.argument("out")
@embed_options
@click.option("--grow", is_flag=True, help="Embed what is new or has changed in SOURCE since the run was planned.")
@source_options
@click.option(
    "--price-per-hour", type=click.FloatRange(0, min_open=True), default=None, help="Of one worker; for --dry-run."
)
@run_options
def embed(
    source: str,
    out: str,
    generator: str,
    vgg: str,
    dry_run: bool,
    price_per_hour: float | None,
    **options: Any,
) -> int:
    """Embed the pictures of SOURCE and write one row for each into OUT.

    SOURCE is a folder, a glob, a picture, an s3:// prefix, or a list (.txt, .csv, .json, .jsonl, .parquet). OUT is a
    folder or an s3:// prefix. Run the same command again to go on with a run that was stopped.
    """
    if not dry_run:
        refuse_without_effect(["--price-per-hour"], "without --dry-run, which estimates the cost")
    chosen = take_source_options(options)
    config = EmbedRunConfig(embed=take_embed_config(options), **options)
    from i2s_batch.cli.run_command import ended, execute, voice, write_page
    from i2s_batch.embedding.embed_run import EmbedRun, EmbedRunRequest

    run = EmbedRun(EmbedRunRequest(source, out, generator, vgg, config, source_options=chosen), voice())
    if dry_run:
        preview = run.describe()
        updates = preview.images_to_do * config.embed.steps
        expected = _expected(run.generator.fingerprint, generator, config, updates, price_per_hour)
        click.echo(json.dumps(preview.to_json() | {"expected": expected}, indent=2))
        return 0
    outcome = execute(lambda cluster, _: run.execute(cluster), config.in_process)
    click.echo(f"{outcome.counted('images')}. Table: {out.rstrip('/')}/latents/")
    write_page(out, run.generator)
    return ended(outcome, "images")


def _expected(fingerprint: str, generator: str, config: EmbedRunConfig, updates: int, price: float | None) -> Json:
    """Return what the measured figures of this machine say of the time and cost of `updates` steps of one image."""
    from i2s_batch.cli.run_command import say
    from i2s_batch.run.speed_cache import estimate, recall
    from i2s_batch.storage.urls import hide_secrets

    known = estimate(recall(say), fingerprint, config.precision, updates, config.actors, price)
    if known:
        return [one.to_json() for one in known]
    bench = ["i2s-batch", "bench", "--generator", hide_secrets(generator), "--precision", config.precision]
    measure = "no speed is remembered for this generator and precision; measure it with"
    return f"{measure}: {shlex.join(bench)} --device cpu|cuda"
