"""`i2s-batch convert`: any readable checkpoint into our own safetensors."""

from __future__ import annotations

from pathlib import Path

import click

from i2s_batch.cli.help_groups import GroupedCommand
from i2s_batch.cli.run_command import shown_at_once
from i2s_batch.storage.urls import is_url


@click.command(cls=GroupedCommand)
@click.argument("checkpoint")
@click.argument("out", metavar="OUT.safetensors")
def convert(checkpoint: str, out: str) -> int:
    """Convert a checkpoint to safetensors.

    CHECKPOINT is a StyleGAN checkpoint: a path, s3://, https://, or a name of `weights list`. OUT.safetensors is the
    file on this machine that gets its generator; it loads fast, and its fingerprint is the same.
    """
    if not out.endswith(".safetensors"):
        raise click.UsageError(f"OUT is {out!r}; it must end in .safetensors")
    if is_url(out):
        raise click.UsageError(f"OUT is {out!r}; give a path on this machine")
    if Path(checkpoint).exists() and Path(out).exists() and Path(checkpoint).samefile(out):
        raise click.UsageError(f"{checkpoint!r} and {out!r} are the same file; give OUT another name")
    with shown_at_once("reading the checkpoint"):
        from i2s_batch.output.ownership import check_file

        check_file(out)
        from i2s_batch.models import write_safetensors
        from i2s_batch.models.loading import generator_weights

        weights = generator_weights(checkpoint)
        write_safetensors(weights, Path(out))
    click.echo(f"{out}: {weights.family}, from {weights.origin}, fingerprint {weights.fingerprint}")
    return 0
