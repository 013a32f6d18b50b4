"""`i2s-batch neighbours`: the nearest codes."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import click

from i2s_batch.cli.aligned import aligned, terminal_columns
from i2s_batch.cli.run_command import say, voice
from i2s_batch.run.terminal import LiveLine, duration, printable

if TYPE_CHECKING:
    from i2s_batch.embedding.single_image import NewPicture


@click.command()
@click.argument("out")
@click.argument("image_id", required=False)
@click.option("--image", metavar="FILE", help="A picture, embedded for this as the run embedded its own.")
@click.option("-k", "k", type=click.IntRange(1, 10_000), default=10, show_default=True, help="How many.")
@click.option("--layers", default="all", show_default=True, help="all, coarse, middle, fine, a layer, or first-last.")
@click.option("--metric", type=click.Choice(["euclidean", "cosine"]), default="euclidean", show_default=True)
@click.option("--sheet", metavar="FILE.png", help="Draw them, too.")
@click.option("--generator", help="For --sheet and --image; by default the one that the run recorded.")
@click.option("--vgg", help="For --image: imagenet, random, path or URL; by default the one that the run recorded.")
@click.option("--steps", type=click.IntRange(min=1), help="For --image; by default as many as the run made.")
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
) -> int:
    """List the pictures of OUT whose codes are nearest to that of IMAGE_ID, or of the picture --image FILE.

    Exact: every code is compared. Layers are numbered from 0, the coarsest: coarse is 0-3, middle 4-7, fine the rest.
    """
    if (image_id is None) == (image is None):
        raise click.UsageError("give either IMAGE_ID, an image of OUT, or --image FILE")
    if generator and not sheet and not image:
        raise click.UsageError("--generator is for --sheet and --image")
    if (vgg or steps) and not image:
        raise click.UsageError("--vgg and --steps are for --image")
    from i2s_batch.table.neighbours import check_search, find_neighbours

    check_search(out, k, layers, metric)
    if sheet:
        from i2s_batch.api.neighbour_sheet import check_sheet

        check_sheet(sheet)
    picture = None if image is None else _embedded(out, image, generator, vgg, steps)
    found = find_neighbours(out, str(image_id) if picture is None else picture.latent, k, layers, metric)
    rows = [(place, n.distance, n.image_id) for place, n in enumerate(found.neighbours, 1)]
    click.echo("\n".join(aligned(["rank", "distance", "image_id"], rows, terminal_columns()).lines))
    rate = max(found.seconds, 1e-9)
    say(
        f"{found.rows} codes, layers {found.layers.start} to {found.layers.stop - 1}, in {duration(found.seconds)}: "
        f"{found.rows / rate:.0f} rows/s, {found.latent_bytes / rate / 1e9:.2f} GB/s"
    )
    if sheet:
        from i2s_batch.api.neighbour_sheet import write_neighbour_sheet

        why_none = write_neighbour_sheet(out, picture or str(image_id), found.neighbours, generator, sheet)
        say(f"{sheet}: " + (f"without reconstructions: {why_none}" if why_none else "written"))
    return 0


def _embedded(out: str, file: str, generator: str | None, vgg: str | None, steps: int | None) -> NewPicture:
    """The picture at `file` as the run at `out` embeds it; how far that is, is told on standard error."""
    from i2s_batch.embedding.single_image import embed_picture
    from i2s_batch.run.progress import LINE_EVERY_S

    voice_, began = voice(), time.monotonic()
    said = began

    def tell(done: int, of: int) -> None:
        nonlocal said
        now = time.monotonic()
        left = f", {duration((now - began) * (of - done) / done)} left" if done else ""
        line = f"{printable(file)}: {done} of {of} steps{left}"
        if isinstance(voice_, LiveLine):
            voice_.show(line)
        elif now - said >= LINE_EVERY_S:
            said = now
            voice_(line)

    try:
        picture = embed_picture(out, file, generator, vgg, steps, tell)
    finally:
        if isinstance(voice_, LiveLine):
            voice_.end()
    say(f"{printable(file)}: embedded in {duration(time.monotonic() - began)}")
    return picture
