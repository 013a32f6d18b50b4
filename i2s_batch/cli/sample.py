"""`i2s-batch sample`: what a checkpoint draws for some seeds."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from i2s_batch.cli.help_groups import OUTPUT, SELECTION, SPEED, GroupedCommand, option
from i2s_batch.cli.option_types import AutoOr, Checkpoint, Location
from i2s_batch.config import DEVICES, PRECISIONS
from i2s_batch.editing.sampling.seeds import Seeds
from i2s_batch.errors import ConfigError
from i2s_batch.plurals import counted

if TYPE_CHECKING:
    _SeedsType = click.ParamType[Seeds]
else:
    _SeedsType = click.ParamType  # which older releases of Click cannot subscript


class _Seeds(_SeedsType):
    """Whole numbers and ranges, such as 1,5,9-12."""

    name = "seeds"

    def convert(self, value: object, param: click.Parameter | None, ctx: click.Context | None) -> Seeds:
        try:
            return Seeds.parse(str(value))
        except ConfigError as error:
            self.fail(str(error), param, ctx)


@click.command(cls=GroupedCommand)
@click.argument("generator", type=Checkpoint())
@click.argument("out", type=Location())
@option(
    "--seeds",
    group=SELECTION,
    type=_Seeds(),
    default="0-15",
    metavar="0-15|1,5,9-12",
    help="Seeds to draw, one image each: whole numbers and ranges.",
)
@option(
    "--psi",
    group=SELECTION,
    type=float,
    default=0.7,
    help="Truncation: 0 draws the mean latent for every seed, 1 truncates nothing.",
)
@option(
    "--cutoff",
    group=SELECTION,
    type=click.IntRange(min=0),
    metavar="LAYER",
    help="Layer from which on nothing is truncated. Default: 8 for StyleGAN1, none for the others.",
)
@option(
    "--label",
    group=SELECTION,
    type=click.IntRange(min=0),
    help="Class to draw, from 0, of a conditional generator. Default: none, which such a generator refuses.",
)
@option(
    "--table",
    group=OUTPUT,
    is_flag=True,
    help="Write a latent table too, which query, neighbours and edit can use.",
)
@option(
    "--batch-size",
    group=SPEED,
    type=AutoOr(),
    default="auto",
    help="Images drawn in a batch; auto chooses by the resolution and the device.",
)
@option(
    "--precision",
    group=SPEED,
    type=click.Choice(PRECISIONS),
    default="fp32",
    help="Arithmetic that the images are drawn in.",
)
@option("--device", group=SPEED, type=click.Choice(DEVICES), default="auto", help="Device that draws the images.")
def sample(
    generator: str,
    out: str,
    seeds: Seeds,
    psi: float,
    cutoff: int | None,
    label: int | None,
    table: bool,
    batch_size: int | None,
    precision: str,
    device: str,
) -> int:
    """Draw images of random seeds from a checkpoint.

    GENERATOR is a StyleGAN checkpoint: a path, a URL, or a name of `weights list`. OUT is the folder or s3:// prefix
    that gets one PNG a seed and a contact sheet.

    The latents are those that the official StyleGAN programs draw for these seeds (NumPy's RandomState), so that an
    image can be compared with theirs; noise is the checkpoint's own. Without --table the images are OUT/seed0000.png
    and so on; with it OUT is a run like those of `edit`, which the same command resumes.
    """
    from i2s_batch.cli.run_command import caller, line_logger, log_line, resumable

    with resumable("reading the generator"):
        from i2s_batch.api import sampling

        samples = sampling.sample(
            generator,
            out,
            seeds=seeds,
            psi=psi,
            cutoff=cutoff,
            label=label,
            table=table,
            device=device,
            precision=precision,
            batch_size=batch_size,
            progress=line_logger(),
            caller=caller(),
        )
    good = samples.images - samples.failed
    click.echo(f"{good} of {counted(samples.images, 'image')}: {samples.folder}")
    click.echo(f"Contact sheet: {samples.contact_sheet}")
    if samples.table is not None:
        click.echo(f"Table: {samples.table}")
    if samples.report is not None:
        click.echo(f"Report: {samples.report}")
    if samples.failed:
        why = "--psi is too large, or the checkpoint is damaged: give a --psi from 0 to 1, or another GENERATOR"
        bad = counted(samples.failed, "image has", "images have")
        log_line(f"i2s-batch: {bad} values that are not finite, and no file; {why}")
        return 1
    return 0
