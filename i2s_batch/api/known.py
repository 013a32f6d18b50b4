"""Finds what a generator is learned from beside its own samples: rows of a table, images of a source."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from i2s_batch.errors import ConfigError, PictureError, RunConflictError
from i2s_batch.images.read.decoding import decode_image
from i2s_batch.images.resize import fit_image
from i2s_batch.models import GeneratorWeights
from i2s_batch.plurals import counted
from i2s_batch.schema.metadata import META_GENERATOR, texts_of
from i2s_batch.sources.image_bytes import read_bytes
from i2s_batch.sources.source import list_images
from i2s_batch.table.arrays import latents_in
from i2s_batch.table.dataset import open_table

_OF_ROW = "generator_fingerprint"


@dataclass(frozen=True)
class KnownImages:
    """Lists the images of a source that can be read, in the order of their ids.

    Attributes:
        uris: Where each is, by its id.
        sha256: A hash of the ids and of the bytes of all, hex.
        resolution: The side that they are fitted to.
        fit: How they are made square.
    """

    uris: dict[str, str]
    sha256: str
    resolution: int
    fit: str

    def read(self, image_id: str) -> np.ndarray:
        """Return an image, uint8 [R, R, 3]."""
        return fit_image(decode_image(read_bytes(self.uris[image_id])), self.resolution, self.fit)


def known_images(source: str, resolution: int, fit: str, report: Callable[[str], None]) -> KnownImages:
    """Return the images of a source; what cannot be read is reported and left out.

    Raises:
        SourceError: The source is missing, or holds no files.
        ConfigError: None of its files is an image.
    """
    rows = list_images(source, report=report).read()
    uris: dict[str, str] = {}
    digest = hashlib.sha256()
    for image_id, uri in zip(rows["image_id"].to_pylist(), rows["uri"].to_pylist(), strict=True):
        try:
            data = read_bytes(uri)
            decode_image(data)
        except PictureError as error:
            report(f"{image_id!r} is left out: {error}")
            continue
        uris[image_id] = uri
        digest.update(f"{image_id}\n{hashlib.sha256(data).hexdigest()}\n".encode())
    if not uris:
        raise ConfigError(f"none of the {counted(rows.num_rows, 'file')} of {source!r} is an image; give others")
    return KnownImages(uris, digest.hexdigest(), resolution, fit)


def known_latents(
    table: str, where: str | None, ids: Sequence[str] | None, generator: GeneratorWeights, report: Callable[[str], None]
) -> np.ndarray:
    """Return the latents of a table's rows with status ok, float32 [N, L, w_dim], in the order of their ids.

    Args:
        table: The output of a run.
        where: A condition in SQL that chooses the rows.
        ids: The ids that are taken; None for all.
        generator: The generator that the latents must belong to.
        report: Shows a line.

    Raises:
        RunConflictError: They belong to another.
        ConfigError: No row is left, or an id is not among them.
        StorageError: There is no table.
        QueryError: `where` is not a condition.
    """
    files = open_table(table)
    of_table, own = texts_of(files.schema.metadata).get(META_GENERATOR, ""), generator.fingerprint
    if of_table != own:
        pair = f"{of_table[:12]}..., not this one, {own[:12]}... ({generator.origin})"
        raise RunConflictError(f"the latents of {files.url} belong to the generator {pair}; give a table of this one")
    found = latents_in(files, [_OF_ROW] if _OF_ROW in files.schema.names else [], where)
    keep = np.ones(len(found.ids), bool)
    if _OF_ROW in found.table.column_names:
        keep = np.array([each in (None, own) for each in found.table[_OF_ROW].to_pylist()], bool)
    if len(keep) > keep.sum():
        report(f"{counted(int(len(keep) - keep.sum()), 'row')} of {files.url} left out: they are of another generator")
    if ids is not None:
        if unknown := [each for each in ids if each not in set(found.ids)]:
            raise ConfigError(f"ids names {unknown[0]!r}; {files.url} has no such row with a latent, or where omits it")
        keep &= np.isin(np.array(found.ids, object), list(ids))
    if not keep.any():
        raise ConfigError(f"of the rows of {files.url} none with a latent is left; choose others")
    return found.latents[keep]
