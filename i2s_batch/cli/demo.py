"""`i2s-batch demo`: the whole way from images to edits on eight drawn images, offline."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import click

from i2s_batch.cli.help_groups import GroupedCommand

if TYPE_CHECKING:
    from i2s_batch.demo.run import DemoResult
    from i2s_batch.run.pools import Cluster


@click.command(cls=GroupedCommand)
@click.argument("out", default="i2s-demo")
def demo(out: str) -> int:
    """Embed and edit eight drawn images, offline.

    OUT is the folder that gets the images, the tables and the reports [default: i2s-demo].

    The bundled generator draws cartoon faces at 64 x 64 and the perceptual network has random weights: the demo shows
    how everything works, not StyleGAN's quality.
    """
    from i2s_batch.cli.run_command import execute

    folder = Path(out)

    def carry_out(cluster: Cluster, report: Callable[[str], None]) -> DemoResult:
        from i2s_batch.demo.run import run_demo

        return run_demo(folder, cluster, report)

    result = execute(carry_out)
    shards = f"{result.table}/*.parquet"
    edits = ", ".join(map(str, result.edits))
    program = f"import duckdb; duckdb.read_parquet('{shards}').select('image_id', 'status', 'psnr', 'error').show()"
    click.echo(
        f"""
{result.outcome.counted("image")} (one image is damaged on purpose).
The generator is a small one for drawn faces and the VGG is random: they show how it works, not StyleGAN's quality.

images          {result.pictures}
latent table    {result.table}
contact sheet   {result.contact_sheet}
report          {result.report}   (open it in a browser)
edits           {edits}
                (each has its images, a table, contact-sheet.png, report.html; the first an animation)

Query the table:
  python -c "{program}"

Your own images, your own StyleGAN checkpoint, a folder or S3:
  i2s-batch embed path/to/images latents --generator path/to/stylegan.pkl
  i2s-batch embed s3://bucket/images s3://bucket/latents --generator path/to/stylegan.pkl
  i2s-batch edit morph latents morphs --all-pairs --animation webp"""
    )
    return 0
