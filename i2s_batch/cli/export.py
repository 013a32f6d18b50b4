"""`i2s-batch export`: latents for other programs."""

from __future__ import annotations

import click

from i2s_batch.cli.help_groups import SELECTION, GroupedCommand, option
from i2s_batch.cli.run_command import shown_at_once
from i2s_batch.plurals import counted
from i2s_batch.table.exporters import EXPORTERS

_FORMATS = "\n".join(f"FILE.{exporter.name:5} {exporter.summary}" for exporter in EXPORTERS)
_HELP = f"""Export latents for NumPy or PyTorch.

OUT is the folder or s3:// prefix of a run. FILE gets the latents in the order of their ids; its ending says how:

\b
{_FORMATS}
"""


@click.command(cls=GroupedCommand, help=_HELP)
@click.argument("out")
@click.argument("file")
@option(
    "--where",
    group=SELECTION,
    metavar="SQL",
    help="Condition that chooses the images, such as 'psnr > 30'. Default: all that have a latent.",
)
def export(out: str, file: str, where: str | None) -> int:
    """Write the latents of OUT into FILE."""
    with shown_at_once("reading the table"):
        from i2s_batch.table.export import export_latents

        latents = export_latents(out, file, where)
    click.echo(f"{file}: {counted(latents, 'latent')}")
    return 0
