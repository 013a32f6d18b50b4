"""`i2s-batch inspect`: what a checkpoint holds, without building it."""

from __future__ import annotations

import click

from i2s_batch.cli.help_groups import GroupedCommand
from i2s_batch.cli.run_command import shown_at_once
from i2s_batch.storage.urls import is_url


@click.command(cls=GroupedCommand)
@click.argument("checkpoint")
def inspect(checkpoint: str) -> int:
    """Show what a checkpoint holds: format, family, sizes.

    CHECKPOINT is a path, s3:// or https://. Its fingerprint, and what else is in the file, is shown, too. Nothing in it
    is executed, and no network is built.
    """
    with shown_at_once("reading the checkpoint"):
        from pathlib import Path

        from i2s_batch.models.checkpoints import facts, inspect_checkpoint
        from i2s_batch.storage.downloads import stage

        contents = inspect_checkpoint(stage(checkpoint) if is_url(checkpoint) else Path(checkpoint))
    for name, line in facts(contents):
        click.echo(f"{name:<12} {line}")
    return 0
