"""`i2s-batch verify`: checks a table against what is documented of it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from i2s_batch.cli.help_groups import INPUT, GroupedCommand, option
from i2s_batch.cli.run_command import shown_at_once
from i2s_batch.plurals import counted
from i2s_batch.run.terminal import printable

if TYPE_CHECKING:
    from i2s_batch.maintenance.verification.table_checks import Verification

_SHOWN = 100  # findings


@click.command(cls=GroupedCommand)
@click.argument("out")
@option(
    "--sample",
    group=INPUT,
    type=click.IntRange(min=0),
    default=8,
    help="Number of rows that are rendered again and compared; 0 renders none.",
)
@option(
    "--generator",
    group=INPUT,
    metavar="CHECKPOINT",
    help="StyleGAN checkpoint of the run. Default: the one that the run recorded.",
)
@option(
    "--vgg",
    group=INPUT,
    metavar="WEIGHTS",
    help="VGG-16 weights of the run: imagenet, random, a path or a URL. Default: those that the run recorded.",
)
def verify(out: str, sample: int, generator: str | None, vgg: str | None) -> int:
    """Verify a table: every file, every row, a sample rendered.

    OUT is the folder or s3:// prefix of a run.

    The exit status is 0 if everything is as it should be. It is 1 if something is wrong, which a line with its file
    and row says, or if the run is not finished.
    """
    with shown_at_once("reading the table"):
        from i2s_batch.api.verification import verify as check

        found = check(out, sample, generator, vgg)
    click.echo("\n".join(printable(line) for line in _lines(found)))
    return 0 if found.sound else 1


def _lines(found: Verification) -> list[str]:
    planned = "unknown" if found.planned is None else str(found.planned)
    rows, again = counted(found.rows, "row"), counted(found.rendered, "row")
    written = counted(found.files, "file is as it was written", "files are as they were written")
    lines = [
        found.out,
        f"  images      {planned} planned, {rows} in {counted(found.files, 'file')}, {found.latents} with a latent",
        *([f"  noise       {counted(found.noise, 'image')} with noise maps of their own"] if found.noise else []),
        f"  checksums   {found.as_written} of {written}",
        f"  rendered    {again} again" + (f", within {found.within}" if found.rendered else ""),
        *(f"  unchecked   {text}" for text in found.unchecked),
    ]
    for finding in found.findings[:_SHOWN]:
        row = "" if finding.row is None else f", row {finding.row}"
        lines.append(f"wrong: {finding.file}{row}: {finding.what}")
    if len(found.findings) > _SHOWN:
        lines.append(f"wrong: {len(found.findings) - _SHOWN} more")
    if found.missing:
        missing = counted(found.missing, "image has", "images have")
        lines.append(f"unfinished: {missing} no row in the table yet; see i2s-batch status")
    return lines if not found.sound else [*lines, "everything is as it should be"]
