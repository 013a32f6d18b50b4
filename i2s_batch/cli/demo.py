"""`i2s-batch demo`: the whole path on eight drawn pictures, offline."""

from __future__ import annotations

import click


@click.command()
@click.argument("out", default="i2s-demo")
def demo(out: str) -> int:
    """Embed and edit eight drawn pictures with a small bundled generator, on this machine, into OUT (i2s-demo).

    The generator draws cartoon faces at 64 x 64 and the perceptual network has random weights: this shows
    the path, not StyleGAN's quality.
    """
    from pathlib import Path

    from i2s_batch.cli.run_command import execute
    from i2s_batch.demo.run import run_demo

    folder = Path(out)
    result = execute(lambda cluster, report: run_demo(folder, cluster, report))
    shards = f"{result.table}/*.parquet"
    edits = ", ".join(map(str, result.edits))
    program = f"import duckdb; duckdb.read_parquet('{shards}').select('image_id', 'status', 'psnr', 'error').show()"
    click.echo(
        f"""
{result.outcome.counted("pictures through Ray")} (one picture is damaged on purpose).
The generator is a small one for drawn faces and the VGG is random: they show the path, not StyleGAN's quality.

pictures        {result.pictures}
latent table    {result.table}
contact sheet   {result.contact_sheet}
report          {result.report}   (open it in a browser)
edits           {edits}
                (in each: pictures, a table, contact-sheet.png, report.html; in the first a film)

Look into the table:
  python -c "{program}"

Your own pictures, your own StyleGAN checkpoint, a folder or S3:
  i2s-batch embed path/to/pictures latents --generator path/to/stylegan.pkl
  i2s-batch embed s3://bucket/pictures s3://bucket/latents --generator path/to/stylegan.pkl
  i2s-batch edit morph latents morphs --all-pairs --animation webp"""
    )
    return 0
