"""`i2s-batch align`: faces where FFHQ has them, an image each."""

from __future__ import annotations

import click

from i2s_batch.cli.help_groups import INPUT, OUTPUT, SPEED, GroupedCommand, option
from i2s_batch.cli.option_types import AutoOr
from i2s_batch.cli.options import face_model_option, min_size_option, source_options


@click.command(cls=GroupedCommand)
@click.argument("source")
@click.argument("out")
@source_options
@min_size_option
@option(
    "--faces",
    group=INPUT,
    type=click.Choice(("largest", "all")),
    default="largest",
    help="Faces of an image that are aligned: the largest, or all; the second face of ID is ID#face1.",
)
@face_model_option()
@option("--size", group=OUTPUT, default=1024, help="Side of an aligned image, in pixels.")
@option(
    "--workers",
    group=SPEED,
    type=AutoOr(),
    default="auto",
    help="Images worked on at once; auto is one per CPU core.",
)
@option(
    "--max-failed-fraction",
    group=OUTPUT,
    default=0.1,
    help="Fraction of the images that may fail, from 0 to 1; with more the exit status is 1.",
)
def align(
    source: str,
    out: str,
    path_column: str | None,
    image_column: str | None,
    include: tuple[str, ...],
    exclude: tuple[str, ...],
    where: str | None,
    limit: int | None,
    min_size: int | None,
    faces: str,
    size: int,
    workers: int | None,
    max_failed_fraction: float,
    face_model: str | None = None,
) -> int:
    """Align faces as FFHQ does, into a folder.

    Writes one image per face, and a list of them.

    SOURCE is a folder, a glob pattern, an image, an s3:// prefix, or a list, whose columns left_eye, right_eye and
    mouth, or landmarks, say where the faces are; without them they are in a JSON file beside each image, or are found.
    OUT is the folder or s3:// prefix that gets images/ and images.parquet, a SOURCE for i2s-batch embed.

    Run the same command again to resume one that was stopped.
    """
    from i2s_batch.cli.run_command import line_logger, log_line, resumable

    with resumable("looking at SOURCE and OUT"):
        from i2s_batch.api.aligning import align as align_source
        from i2s_batch.sources.options import SourceOptions

        options = SourceOptions(path_column, include, exclude, limit, image_column=image_column, where=where)
        result = align_source(
            source,
            out,
            size=size,
            faces=faces,
            face_model=face_model,
            workers=workers,
            source_options=options,
            min_size=min_size,
            progress=line_logger(),
        )
    counts = ", ".join(f"{n} {status}" for status, n in sorted(result.statuses.items()))
    click.echo(f"{result.aligned} aligned ({counts}). List: {result.images}")
    if result.failed > max_failed_fraction * (result.failed + result.aligned):
        log_line(f"i2s-batch: {result.failed} failed, more than --max-failed-fraction {max_failed_fraction} allows")
        return 1
    return 0
