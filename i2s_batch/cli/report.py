"""`i2s-batch report`: one page that shows a run."""

from __future__ import annotations

import click


@click.command()
@click.argument("out")
@click.option("--generator", help="The checkpoint that made the run; by default the one that the run recorded.")
def report(out: str, generator: str | None) -> int:
    """Write OUT/report.html from the table of a run: figures, failures, pictures.

    OUT is the folder or s3:// prefix of an `embed` run, whole or unfinished. The page needs no network.
    """
    from i2s_batch.api import reports

    click.echo(reports.report(out, generator))
    return 0
