"""`i2s-batch merge`: several runs as one."""

from __future__ import annotations

import click

from i2s_batch.cli.run_command import resumable, say


@click.command()
@click.argument("outs", nargs=-1, required=True, metavar="OUT... NEW")
def merge(outs: tuple[str, ...]) -> int:
    """Write the rows of finished runs with the same settings and networks into one table, at NEW.

    An image that several runs hold comes once: the row that is ok first, then the one with the lower loss, then
    that of the run named first. One id for different pictures is refused.
    """
    *runs, new = outs
    if len(runs) < 2:
        raise click.UsageError("give at least two runs and NEW")
    from i2s_batch.api.merges import merge as merge_outputs

    with resumable():
        result = merge_outputs(runs, new, progress=say)
    click.echo(f"{result.counted('images')}. Table: {new.rstrip('/')}/latents/")
    return 0
