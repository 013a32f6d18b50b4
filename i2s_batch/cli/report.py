"""`i2s-batch report`: one page that shows a run."""

from __future__ import annotations

import sys

import click

from i2s_batch.cli.help_groups import INPUT, GroupedCommand, option
from i2s_batch.cli.run_command import shown_at_once


def _number(context: click.Context, parameter: click.Parameter, value: str | None) -> int | None:
    """Return the number that an option gives in words; `all` is more than any run has."""
    if value is None:
        return None
    if value == "all":
        return sys.maxsize
    if not value.isascii() or not value.isdecimal():
        raise click.BadParameter(f"{value!r} is no number of images; give a whole number, or all")
    return int(value)


@click.command(cls=GroupedCommand)
@click.argument("out")
@option(
    "--generator",
    group=INPUT,
    metavar="CHECKPOINT",
    help="StyleGAN checkpoint of the run, which renders the reconstructions. Default: the one that the run recorded.",
)
@option(
    "--images",
    group=INPUT,
    metavar="N|all",
    callback=_number,
    help="Reconstructions that are drawn for the pages of all images of an embedding run. Default: as many as take a "
    "minute or so, 240 at most.",
)
def report(out: str, generator: str | None, images: int | None) -> int:
    """Write report.html: metrics, failures and images of a run.

    OUT is the folder or s3:// prefix of a run, finished or not. The page is one file that needs no network. Where it
    does not show every image, pages beside it, in OUT/report/, do.
    """
    with shown_at_once("reading the table"):
        from i2s_batch.api import reports

        page = reports.report(out, generator, images)
    click.echo(page)
    return 0
