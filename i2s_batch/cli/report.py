"""`i2s-batch report`: one page that shows a run."""

from __future__ import annotations

import click

from i2s_batch.cli.help_groups import INPUT, GroupedCommand, option
from i2s_batch.cli.options import refuse_without_effect


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
    from i2s_batch.api import reports
    from i2s_batch.schema.settings import STUDY
    from i2s_batch.table.dataset import open_table
    from i2s_batch.table.shards import recorded_settings

    if generator and recorded_settings(open_table(out, quiet=True).schema, out).run.kind == STUDY:
        refuse_without_effect(["--generator"], "on a study, whose page shows the reconstructions that it kept")

    click.echo(reports.report(out, generator))
    return 0
