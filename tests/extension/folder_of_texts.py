"""A folder exporter of another program: one file of text a latent."""

from __future__ import annotations

from pathlib import Path

from i2s_batch.registry import Declaration
from i2s_batch.table.arrays import iter_latents
from i2s_batch.table.exporters import FolderWriter
from i2s_batch.table.hugging_face_dataset import ImageSource


def write_texts(out: str, where: str | None, folder: Path, images: ImageSource | None) -> int:
    count = 0
    for part in iter_latents(out, columns=(), where=where):
        for image_id, latent in zip(part.ids, part.latents, strict=True):
            (folder / f"{count:08d}.txt").write_text(f"{image_id} {latent.sum():.6f}\n", encoding="utf-8")
            count += 1
    return count


TEXTS = Declaration[FolderWriter]("texts", "A file of text a latent.", "tests.extension.folder_of_texts:write_texts")
