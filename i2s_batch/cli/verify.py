"""`i2s-batch verify`: whether a table is what it is documented to be."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from i2s_batch.run.terminal import printable

if TYPE_CHECKING:
    from i2s_batch.maintenance.verification.table_checks import Verification

_SHOWN = 100  # findings


@click.command()
@click.argument("out")
@click.option("--sample", type=click.IntRange(min=0), default=8, show_default=True, help="Rows rendered again.")
@click.option("--generator", help="The checkpoint that made the run; by default the one that the run recorded.")
@click.option("--vgg", help="Its VGG-16: imagenet, random, path or URL; by default the one that the run recorded.")
def verify(out: str, sample: int, generator: str | None, vgg: str | None) -> int:
    """Check every promise of the table of OUT: the plan, each file and row, and a sample rendered again.

    Status 0: all is as it should be. 1: something is wrong, each in a line that names file and row; or the run is
    not finished.
    """
    from i2s_batch.api.verification import verify as check

    found = check(out, sample, generator, vgg)
    click.echo("\n".join(printable(line) for line in _lines(found)))
    return 0 if found.sound else 1


def _lines(found: Verification) -> list[str]:
    planned = "unknown" if found.planned is None else str(found.planned)
    lines = [
        found.out,
        f"  images      {planned} planned, {found.rows} rows in {found.files} files, {found.latents} with a code",
        f"  checksums   {found.as_written} of {found.files} files are as they were written",
        f"  rendered    {found.rendered} rows again" + (f", within {found.within}" if found.rendered else ""),
        *(f"  unchecked   {text}" for text in found.unchecked),
    ]
    for finding in found.findings[:_SHOWN]:
        row = "" if finding.row is None else f", row {finding.row}"
        lines.append(f"wrong: {finding.file}{row}: {finding.what}")
    if len(found.findings) > _SHOWN:
        lines.append(f"wrong: {len(found.findings) - _SHOWN} more")
    if found.missing:
        lines.append(f"unfinished: {found.missing} images have no row in the table yet; i2s-batch status says more")
    return lines if not found.sound else [*lines, "everything is as it should be"]
