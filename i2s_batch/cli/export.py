"""`i2s-batch export`: codes for other programs."""

from __future__ import annotations

import click

from i2s_batch.table.exporters import EXPORTERS

_FORMS = "\n".join(f"FILE.{exporter.name:5} {exporter.summary}" for exporter in EXPORTERS)


@click.command(help=f"Write the codes of OUT into FILE, in the order of their ids.\n\n\b\n{_FORMS}")
@click.argument("out")
@click.argument("file")
@click.option("--where", metavar="CONDITION", help='In SQL, such as "psnr > 30"; see i2s-batch query.')
def export(out: str, file: str, where: str | None) -> int:
    """Write the codes of OUT into FILE."""
    from i2s_batch.table.export import export_latents

    click.echo(f"{file}: {export_latents(out, file, where)} codes")
    return 0
