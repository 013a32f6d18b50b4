"""`i2s-batch export`: codes for other programs."""

from __future__ import annotations

import click


@click.command()
@click.argument("out")
@click.argument("file")
@click.option("--where", metavar="CONDITION", help='In SQL, such as "psnr > 30"; see i2s-batch query.')
def export(out: str, file: str, where: str | None) -> int:
    """Write the codes of OUT into FILE, in the order of their ids.

    \b
    FILE.npy   the codes alone, float32 [N, L, w_dim]
    FILE.npz   the codes as `w`, with image_id and every column of numbers
    FILE.pt    the same for torch.load(FILE, weights_only=True); all of it in memory once
    """
    from i2s_batch.table.export import export_latents

    click.echo(f"{file}: {export_latents(out, file, where)} codes")
    return 0
