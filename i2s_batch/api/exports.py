"""`export_folder()` writes a table into a folder for another library."""

from __future__ import annotations

import os
from pathlib import Path

from i2s_batch.editing.table_images import RenderedImages, StoredImages
from i2s_batch.errors import ConfigError
from i2s_batch.output.ownership import check_file
from i2s_batch.run.networks import generator_of
from i2s_batch.schema.metadata import META_GENERATOR, texts_of
from i2s_batch.schema.settings import EDIT
from i2s_batch.storage import open_store
from i2s_batch.storage.files import errors_named, temporary_folder_beside
from i2s_batch.storage.urls import is_url
from i2s_batch.table.dataset import open_table
from i2s_batch.table.exporters import FOLDER_EXPORTERS
from i2s_batch.table.hugging_face_dataset import ImageSource
from i2s_batch.table.shards import recorded_settings


def export_folder(
    out: str,
    folder: str,
    kind: str = "huggingface",
    where: str | None = None,
    images: bool = False,
    generator: str | None = None,
) -> int:
    """Write the latents of the run at `out` into `folder`, which appears whole; return their number.

    Args:
        out: The output of a run, a path or URL.
        folder: A path on this machine: nothing, or an empty folder.
        kind: A format of `FOLDER_EXPORTERS`.
        where: A condition in SQL; None for all rows with a latent.
        images: Whether each row gets its image too: of an edit the one that was written, else its latent's, rendered.
        generator: What renders, a path or URL; None for the recorded one.

    Raises:
        ConfigError: The folder is a URL or exists, or no generator is known.
        I2SError: The table cannot be read, or the folder cannot be written.
    """
    if is_url(folder):
        raise ConfigError(f"FOLDER is {folder!r}; give a path on this machine")
    check_file(folder)
    path = Path(os.path.realpath(folder))
    with errors_named(path):
        if path.exists() and (not path.is_dir() or any(path.iterdir())):
            raise ConfigError(f"{folder!r} exists and is no empty folder; give a new one")
    if generator is not None and not images:
        raise ConfigError("a generator has no effect without images; leave it out, or ask for images")
    source = _image_source(out, generator) if images else None
    with errors_named(path), temporary_folder_beside(path) as written:
        count = FOLDER_EXPORTERS.get(kind).resolve()(out, where, written, source)
        written.replace(path)
    return count


def _image_source(out: str, generator: str | None) -> ImageSource:
    """Return what returns the images of rows; ConfigError where they would have to be rendered and nothing can."""
    schema = open_table(out, quiet=True).schema
    if recorded_settings(schema, out).run.kind == EDIT and generator is None:
        return StoredImages(open_store(out))
    weights, why_none = generator_of(out, texts_of(schema.metadata).get(META_GENERATOR, ""), generator)
    if weights is None:
        raise ConfigError(f"{out}: {why_none}")
    return RenderedImages(weights)
