"""An exporter of another program: one line of text a latent."""

from __future__ import annotations

from typing import BinaryIO

from i2s_batch.table.arrays import iter_latents
from i2s_batch.table.exporters import Exporter


def write_text(out: str, where: str | None, stream: BinaryIO) -> int:
    count = 0
    for part in iter_latents(out, columns=(), where=where):
        for image_id, latent in zip(part.ids, part.latents, strict=True):
            stream.write(f"{image_id} {latent.sum():.6f}\n".encode())
            count += 1
    return count


TEXT = Exporter("txt", "One line of text a latent.", "tests.extension.text_exporter:write_text", seekable=False)
