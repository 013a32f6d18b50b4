"""`i2s-batch sample`: what a checkpoint draws for some seeds."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TYPE_CHECKING

import click

from i2s_batch.cli.options import AutoOr, Location
from i2s_batch.config import DEVICES, PRECISIONS, EditConfig
from i2s_batch.editing.sampling.seeds import Seeds
from i2s_batch.editing.sampling.settings import SampleSettings
from i2s_batch.errors import ConfigError

if TYPE_CHECKING:
    from i2s_batch.api.sampling import Samples
    from i2s_batch.editing.sampling.request import SampleRequest
    from i2s_batch.models import GeneratorWeights

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


@click.command()
@click.argument("generator", type=Location())
@click.argument("out", type=Location())
@click.option(
    "--seeds",
    type=_Seeds(),
    default="0-15",
    show_default=True,
    metavar="0-15|1,5,9-12",
    help="Seeds to draw, one image each: whole numbers and ranges.",
)
@click.option(
    "--psi",
    type=float,
    default=0.7,
    show_default=True,
    help="Truncation: 0 draws the mean latent for every seed, 1 truncates nothing.",
)
@click.option(
    "--cutoff",
    type=click.IntRange(min=0),
    metavar="LAYER",
    help="Truncate the layers below this one only.  [default: 8 for StyleGAN1, all layers for the others]",
)
@click.option("--label", type=click.IntRange(min=0), help="Class to draw, from 0; a conditional generator needs it.")
@click.option("--table", is_flag=True, help="Write a latent table too, which query, neighbours and edit can use.")
@click.option(
    "--batch-size",
    type=AutoOr(),
    default="auto",
    show_default=True,
    help="Images drawn at once; auto chooses by the resolution and the device.",
)
@click.option(
    "--precision",
    type=click.Choice(PRECISIONS),
    default="fp32",
    show_default=True,
    help="Arithmetic that the images are drawn in.",
)
@click.option(
    "--device", type=click.Choice(DEVICES), default="auto", show_default=True, help="Device that draws the images."
)
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

    GENERATOR is a StyleGAN checkpoint, a path or URL. OUT is the folder or s3:// prefix that gets one PNG a seed and a
    contact sheet.

    The latents are those that the official StyleGAN programs draw for these seeds (NumPy's RandomState), so that an
    image can be compared with theirs; noise is the checkpoint's own. Without --table the images are OUT/seed0000.png
    and so on; with it OUT is a run like those of `edit`, which the same command resumes.
    """
    settings = SampleSettings(seeds, psi, cutoff, label)
    config = EditConfig(precision=precision, device=device, batch_size=batch_size, in_process=True)
    from i2s_batch.cli.run_command import command_words, log_line, write_page
    from i2s_batch.editing.sampling.request import SampleRequest
    from i2s_batch.models.loading import generator_weights

    weights = generator_weights(generator)
    samples = _carried_out(SampleRequest(generator, out, settings, config, command_words()), weights, table)
    good = samples.images - samples.failed
    click.echo(f"{good} of {samples.images} images: {samples.folder}")
    click.echo(f"Contact sheet: {samples.contact_sheet}")
    if samples.table is not None:
        click.echo(f"Table: {samples.table}")
        write_page(samples.out, weights)
    if samples.failed:
        why = "--psi is too large, or the checkpoint is damaged: give a --psi from 0 to 1, or another GENERATOR"
        log_line(f"i2s-batch: {samples.failed} images have values that are not finite, and no file; {why}")
        return 1
    return 0


def _carried_out(request: SampleRequest, weights: GeneratorWeights, table: bool) -> Samples:
    from i2s_batch.api.sampling import carry_out
    from i2s_batch.cli.run_command import execute

    progress = _progress(len(request.settings.seeds))
    return execute(lambda cluster, log: carry_out(request, weights, table, cluster, log, progress), in_process=True)


def _progress(images: int) -> Callable[[int], None]:
    """Return what reports how many images are done, at intervals."""
    from i2s_batch.cli.run_command import line_logger
    from i2s_batch.run.progress import LINE_EVERY_S
    from i2s_batch.run.terminal import LiveLine

    line, reported = line_logger(), time.monotonic()

    def report(done: int) -> None:
        nonlocal reported
        text = f"{done} of {images} images"
        if isinstance(line, LiveLine):
            line.show(text)
        elif time.monotonic() - reported >= LINE_EVERY_S:
            reported = time.monotonic()
            line(text)

    return report
