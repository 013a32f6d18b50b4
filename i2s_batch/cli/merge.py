"""`i2s-batch merge`: several runs as one."""

from __future__ import annotations

import click

from i2s_batch.cli.help_groups import OUTPUT, GroupedCommand, option
from i2s_batch.cli.run_command import line_logger, resumable
from i2s_batch.plurals import counted


@click.command(cls=GroupedCommand)
@click.argument("outs", nargs=-1, required=True, metavar="OUT... NEW")
@option(
    "--prefix",
    "prefixes",
    group=OUTPUT,
    multiple=True,
    metavar="TEXT",
    help="Text in front of the ids of a run: once for every OUT, in their order. Default: ids stay as they are.",
)
def merge(outs: tuple[str, ...], prefixes: tuple[str, ...]) -> int:
    """Merge finished runs into one table.

    OUT... are two or more finished runs with the same settings and networks, folders or s3:// prefixes. NEW is the
    folder or s3:// prefix that gets the merged table.

    Of an image that several runs hold, the row that is ok is kept, then the one with the lower loss, then that of the
    run named first. One id for different images is refused.
    """
    *runs, new = outs
    if len(runs) < 2:
        raise click.UsageError("give at least two runs and NEW")
    if len(prefixes) not in (0, len(runs)):
        raise click.UsageError(
            f"--prefix is given {counted(len(prefixes), 'time')} for {len(runs)} runs; give one for each, or none"
        )
    with resumable("looking at the runs"):
        from i2s_batch.api.merges import merge as merge_outputs

        result = merge_outputs(runs, new, prefixes=prefixes, progress=line_logger())
    click.echo(f"{result.counted('image')}. Table: {new.rstrip('/')}/latents/")
    return 0
