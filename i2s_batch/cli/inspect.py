"""`i2s-batch inspect`: what a checkpoint holds, without building it."""

from __future__ import annotations

from pathlib import Path

import click

from i2s_batch.cli.help_groups import GroupedCommand
from i2s_batch.cli.run_command import shown_at_once
from i2s_batch.weights.published import PUBLISHED


@click.command(cls=GroupedCommand)
@click.argument("checkpoint")
def inspect(checkpoint: str) -> int:
    """Show what a checkpoint or learned file holds.

    CHECKPOINT is a path, s3://, https://, or a name of `weights list`. Its format, family, sizes and fingerprint are
    shown, and what else is in the file. Nothing in it is executed, and no network is built.
    """
    with shown_at_once("reading the checkpoint"):
        from i2s_batch.inversion.learned_file import read_learned
        from i2s_batch.inversion.learned_loading import is_learned_file, learned_facts
        from i2s_batch.models.checkpoints import facts, inspect_checkpoint
        from i2s_batch.models.loading import staged

        def lines_of(path: Path) -> list[tuple[str, str]]:
            return learned_facts(read_learned(path)) if is_learned_file(path) else facts(inspect_checkpoint(path))

        network = PUBLISHED.get(checkpoint).network if checkpoint in PUBLISHED else None
        lines = lines_of(staged(checkpoint, network, lines_of))
    for name, line in lines:
        click.echo(f"{name:<12} {line}")
    return 0
