"""`i2s-batch neighbours`: the nearest latents."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import click

from i2s_batch.cli.aligned import aligned, terminal_columns
from i2s_batch.cli.help_groups import OUTPUT, GroupedCommand, option
from i2s_batch.cli.run_command import line_logger, log_line, shown_at_once
from i2s_batch.plurals import counted
from i2s_batch.run.terminal import LiveLine, duration, printable

if TYPE_CHECKING:
    from i2s_batch.embedding.single_image import NewImage


_SEARCH, _NEW_IMAGE = "The search", "An image that is not in the table"


@click.command(cls=GroupedCommand)
@click.argument("out")
@click.argument("image_id", required=False)
@option("-k", "k", group=_SEARCH, type=click.IntRange(1, 10_000), default=10, help="Number of neighbours.")
@option(
    "--layers",
    group=_SEARCH,
    default="all",
    help="Layers that are compared: all, coarse, middle, fine, a number, or a range such as 4-7.",
)
@option(
    "--metric",
    group=_SEARCH,
    type=click.Choice(["euclidean", "cosine"]),
    default="euclidean",
    help="Distance between two latents.",
)
@option(
    "--image",
    group=_NEW_IMAGE,
    metavar="FILE",
    help="Image file that is embedded for this search as the run embedded its own. Default: IMAGE_ID is searched for.",
)
@option(
    "--steps",
    group=_NEW_IMAGE,
    type=click.IntRange(min=1),
    help="Optimizer steps for --image. Default: as many as the run took.",
)
@option(
    "--vgg",
    group=_NEW_IMAGE,
    metavar="WEIGHTS",
    help="VGG-16 weights for --image: imagenet, random, a path or a URL. Default: those that the run recorded.",
)
@option(
    "--learned",
    group=_NEW_IMAGE,
    metavar="FILE",
    help="Learned file for --image, where the run used one. Default: the one that the run recorded.",
)
@option(
    "--sheet",
    group=OUTPUT,
    metavar="FILE.png",
    help="File that gets a contact sheet of the neighbours. Default: none is drawn.",
)
@option(
    "--generator",
    group=OUTPUT,
    metavar="CHECKPOINT",
    help="StyleGAN checkpoint for --sheet and --image. Default: the one that the run recorded.",
)
def neighbours(
    out: str,
    image_id: str | None,
    image: str | None,
    k: int,
    layers: str,
    metric: str,
    sheet: str | None,
    generator: str | None,
    vgg: str | None,
    steps: int | None,
    learned: str | None,
) -> int:
    """Find nearest neighbours in latent space.

    OUT is the folder or s3:// prefix of a run, IMAGE_ID an image of its table. The search is exact: every latent is
    compared.

    Layers are numbered from 0, the coarsest: coarse is 0-3, middle 4-7, fine the rest.
    """
    if (image_id is None) == (image is None):
        raise click.UsageError("give either IMAGE_ID, an image of OUT, or --image FILE")
    if generator and not sheet and not image:
        raise click.UsageError("--generator is for --sheet and --image")
    if (vgg or steps or learned) and not image:
        raise click.UsageError("--vgg, --steps and --learned are for --image")
    with shown_at_once("reading the table"):
        from i2s_batch.table.neighbours import check_search, find_neighbours

        check_search(out, k, layers, metric)
        if sheet:
            from i2s_batch.api.neighbour_sheet import check_sheet

            check_sheet(sheet)
        new_image = None if image is None else _embedded(out, image, generator, vgg, steps, learned)
        found = find_neighbours(out, str(image_id) if new_image is None else new_image.latent, k, layers, metric)
    rows = [(rank, n.distance, n.image_id) for rank, n in enumerate(found.neighbours, 1)]
    click.echo("\n".join(aligned(["rank", "distance", "image_id"], rows, terminal_columns()).lines))
    rate = max(found.seconds, 1e-9)
    log_line(
        f"{counted(found.rows, 'latent')}, layers {found.layers.start} to {found.layers.stop - 1}, "
        f"in {duration(found.seconds)}: "
        f"{found.rows / rate:.0f} rows/s, {found.latent_bytes / rate / 1e9:.2f} GB/s"
    )
    if sheet:
        from i2s_batch.api.neighbour_sheet import write_neighbour_sheet

        why_none = write_neighbour_sheet(out, new_image or str(image_id), found.neighbours, generator, sheet)
        log_line(f"{sheet}: " + (f"without reconstructions: {why_none}" if why_none else "written"))
    return 0


def _embedded(
    out: str, file: str, generator: str | None, vgg: str | None, steps: int | None, learned: str | None
) -> NewImage:
    """Return the image at `file` as the run at `out` embeds it; lines on standard error report the progress."""
    from i2s_batch.embedding.single_image import embed_image
    from i2s_batch.run.progress import LINE_EVERY_S

    log, began = line_logger(), time.monotonic()
    reported_at = began

    def report(done: int, of: int) -> None:
        nonlocal reported_at
        now = time.monotonic()
        left = f", {duration((now - began) * (of - done) / done)} left" if done else ""
        line = f"{printable(file)}: {done} of {of} steps{left}"
        if isinstance(log, LiveLine):
            log.show(line)
        elif now - reported_at >= LINE_EVERY_S:
            reported_at = now
            log(line)

    try:
        new_image = embed_image(out, file, generator, vgg, steps, report, learned)
    finally:
        if isinstance(log, LiveLine):
            log.end()
    log_line(f"{printable(file)}: embedded in {duration(time.monotonic() - began)}")
    return new_image
