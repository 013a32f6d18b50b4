"""`i2s-batch embed`: pictures into a table of latents."""

from __future__ import annotations

import json
from typing import Any

import click

from i2s_batch.cli.options import embed_options, run_options, take_embed_config
from i2s_batch.config import RunConfig


@click.command()
@click.argument("source")
@click.argument("out")
@embed_options
@click.option("--grow", is_flag=True, help="Embed what is new or has changed in SOURCE since the run was planned.")
@run_options
def embed(source: str, out: str, generator: str, vgg: str, dry_run: bool, **options: Any) -> int:
    """Embed the pictures of SOURCE and write one row for each into OUT.

    SOURCE is a folder, a glob, a picture, an s3:// prefix, or a list (.txt, .csv, .jsonl, .parquet). OUT is a
    folder or an s3:// prefix. Run the same command again to go on with a run that was stopped.
    """
    config = RunConfig(embed=take_embed_config(options), **options)
    from i2s_batch.cli.run import ended, execute, voice, write_page
    from i2s_batch.runtime.embed import EmbedJob, EmbedRun

    run = EmbedRun(EmbedJob(source, out, generator, vgg, config), voice())
    if dry_run:
        click.echo(json.dumps(run.describe(), indent=2))
        return 0
    outcome = execute(lambda cluster, _: run.execute(cluster))
    click.echo(f"{outcome.counted('images')}. Table: {out.rstrip('/')}/latents/")
    write_page(out, run.generator)
    return ended(outcome, "images")
