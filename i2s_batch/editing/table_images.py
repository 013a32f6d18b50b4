"""Returns the images of rows of a table, encoded: those that an edit has written, or the latents rendered."""

from __future__ import annotations

import hashlib

import numpy as np
import pyarrow as pa
import torch

from i2s_batch.editing.edit_worker import batch_size
from i2s_batch.editing.planned_images import FILE, file_of
from i2s_batch.errors import StorageError
from i2s_batch.images.read.decoding import encode_image
from i2s_batch.inversion.synthesis import images_of
from i2s_batch.models import GeneratorWeights, build_generator
from i2s_batch.output.archives.reading import RunImages
from i2s_batch.run.device import has_gpu
from i2s_batch.storage import Store


class StoredImages:
    """Reads the images that an edit run has written; each is checked against its row."""

    def __init__(self, store: Store) -> None:
        self._images = RunImages.of(store)

    def __call__(self, rows: pa.RecordBatch) -> list[bytes | None]:
        """Return the image of each row as it was written."""
        files = rows[FILE].to_pylist() if FILE in rows.schema.names else [None] * len(rows)
        named = zip(files, *(rows[name].to_pylist() for name in ("image_id", "uri", "sha256")), strict=True)
        return [self._read(file_of(file, image_id, uri), image_id, sha256) for file, image_id, uri, sha256 in named]

    def _read(self, key: str, image_id: str, sha256: str) -> bytes:
        data = self._images.get(key)
        if hashlib.sha256(data).hexdigest() != sha256:
            raise StorageError(f"{image_id!r}: its image {key!r} is not the one that was written; run i2s-batch verify")
        return data


class RenderedImages:
    """Renders latents, on a GPU if there is one."""

    def __init__(self, weights: GeneratorWeights) -> None:
        self._generator = build_generator(weights, torch.device("cuda" if has_gpu() else "cpu"))

    def __call__(self, rows: pa.RecordBatch) -> list[bytes | None]:
        """Return the image of each row as a PNG; None where it has values that are not finite."""
        shape = (len(rows), self._generator.num_layers, self._generator.w_dim)
        latents = np.array(rows["latent"].flatten().to_numpy()).reshape(shape)
        step = batch_size(self._generator)
        parts = [images_of(latents[start : start + step], self._generator) for start in range(0, len(rows), step)]
        return [None if image is None else encode_image(image, "png") for part in parts for image in part]
