"""`i2s-batch report`: one page that shows a run."""

from __future__ import annotations

import click

from i2s_batch.cli.help_groups import INPUT, GroupedCommand, option
from i2s_batch.cli.run_command import shown_at_once


@click.command(cls=GroupedCommand)
@click.argument("out")
@option(
    "--generator",
    group=INPUT,
    metavar="CHECKPOINT",
    help="StyleGAN checkpoint of the run, which renders the reconstructions. Default: the one that the run recorded.",
)
def report(out: str, generator: str | None) -> int:
    """Write report.html: metrics, failures and images of a run.

    OUT is the folder or s3:// prefix of a run, finished or not. The page is one file that needs no network.
    """
    with shown_at_once("reading the table"):
        from i2s_batch.api import reports

        page = reports.report(out, generator)
    click.echo(page)
    return 0
