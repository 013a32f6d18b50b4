"""`i2s-batch export`: latents for other programs."""

from __future__ import annotations

import click

from i2s_batch.cli.help_groups import OUTPUT, SELECTION, GroupedCommand, option
from i2s_batch.cli.options import refuse_without_effect
from i2s_batch.cli.run_command import shown_at_once
from i2s_batch.plurals import counted
from i2s_batch.table.exporters import EXPORTERS, FOLDER_EXPORTERS

_FORMATS = "\n".join(f"FILE.{exporter.name:5} {exporter.summary}" for exporter in EXPORTERS)
_FOLDERS = "\n".join(f"--format {exporter.name}  {exporter.summary}" for exporter in FOLDER_EXPORTERS)
_HELP = f"""Export latents for NumPy, PyTorch or Hugging Face datasets.

OUT is the folder or s3:// prefix of a run. FILE gets the latents in the order of their ids; its ending says how:

\b
{_FORMATS}

With --format it is a new folder:

\b
{_FOLDERS}
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
@option(
    "--format",
    "folder_format",
    group=OUTPUT,
    type=click.Choice(FOLDER_EXPORTERS.names),
    help="Format of a folder. Default: a file, as the ending of FILE says.",
)
@option(
    "--images",
    group=OUTPUT,
    is_flag=True,
    help="Give each row its image, too: of an edit the one that was written, else its latent rendered as a PNG.",
)
@option(
    "--generator",
    group=OUTPUT,
    metavar="CHECKPOINT",
    help="StyleGAN checkpoint that renders for --images. Default: the one that the run recorded.",
)
def export(
    out: str, file: str, where: str | None, folder_format: str | None, images: bool, generator: str | None
) -> int:
    """Write the latents of OUT into FILE."""
    if folder_format is None:
        refuse_without_effect(["--images", "--generator"], f"without --format {'|'.join(FOLDER_EXPORTERS.names)}")
    if not images:
        refuse_without_effect(["--generator"], "without --images")
    with shown_at_once("reading the table"):
        if folder_format is None:
            from i2s_batch.table.export import export_latents

            latents = export_latents(out, file, where)
        else:
            from i2s_batch.api.exports import export_folder

            latents = export_folder(out, file, folder_format, where, images, generator)
    click.echo(f"{file}: {counted(latents, 'latent')}")
    return 0
