"""`i2s-batch neighbours`: the nearest codes."""

from __future__ import annotations

import click

from i2s_batch.cli.aligned import aligned, terminal_columns
from i2s_batch.cli.run import say
from i2s_batch.runtime.terminal import duration


@click.command()
@click.argument("out")
@click.argument("image_id")
@click.option("-k", "k", type=click.IntRange(1, 10_000), default=10, show_default=True, help="How many.")
@click.option("--layers", default="all", show_default=True, help="all, coarse, middle, fine, a layer, or first-last.")
@click.option("--metric", type=click.Choice(["euclidean", "cosine"]), default="euclidean", show_default=True)
@click.option("--sheet", metavar="FILE.png", help="Draw them, too.")
@click.option("--generator", help="For --sheet; by default the one that the run recorded.")
def neighbours(
    out: str, image_id: str, k: int, layers: str, metric: str, sheet: str | None, generator: str | None
) -> int:
    """List the pictures of OUT whose codes are nearest to that of IMAGE_ID.

    Exact: every code is compared. Layers are numbered from 0, the coarsest: coarse is 0-3, middle 4-7, fine the rest.
    """
    if generator and not sheet:
        raise click.UsageError("--generator is for --sheet")
    from i2s_batch.table.neighbours import find_neighbours

    if sheet:
        from i2s_batch.table.neighbour_sheet import check_sheet

        check_sheet(sheet)
    found = find_neighbours(out, image_id, k, layers, metric)
    rows = [(place, n.distance, n.image_id) for place, n in enumerate(found.neighbours, 1)]
    click.echo("\n".join(aligned(["rank", "distance", "image_id"], rows, terminal_columns()).lines))
    rate = max(found.seconds, 1e-9)
    say(
        f"{found.rows} codes, layers {found.layers.start} to {found.layers.stop - 1}, in {duration(found.seconds)}: "
        f"{found.rows / rate:.0f} rows/s, {found.code_bytes / rate / 1e9:.2f} GB/s"
    )
    if sheet:
        from i2s_batch.table.neighbour_sheet import write_neighbour_sheet

        why_none = write_neighbour_sheet(out, image_id, found.neighbours, generator, sheet)
        say(f"{sheet}: " + (f"without reconstructions: {why_none}" if why_none else "written"))
    return 0
