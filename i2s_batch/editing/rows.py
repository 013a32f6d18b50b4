"""Makes rows of the latent table from edited latents."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, replace
from datetime import UTC, datetime

import numpy as np

from i2s_batch.editing.units import EditImage
from i2s_batch.schema.columns import STATUS_OK, folder_of
from i2s_batch.schema.row import Row


@dataclass(frozen=True)
class WrittenImage:
    """Holds what is known of an image file that was written.

    Attributes:
        data: Its bytes.
        picture_format: One of `config.PICTURE_FORMATS`.
        shape: The shape of its pixels, [H, W, 3].
    """

    data: bytes
    picture_format: str
    shape: tuple[int, ...]


def edited_row(image: EditImage, attempts: int, latent: np.ndarray, w_distance: float, file: WrittenImage) -> Row:
    """Return the row of an image that was made from a latent, float32 [L, w_dim].

    There is no target, so there is no loss and no image metric. The recipe's columns come from the plan.
    """
    return replace(
        _row(image, attempts, STATUS_OK),
        latent=latent.ravel(),
        metrics={"w_distance": w_distance},
        sha256=hashlib.sha256(file.data).hexdigest(),
        bytes=len(file.data),
        format=file.picture_format.upper(),
        mode="RGB",
        height=file.shape[0],
        width=file.shape[1],
    )


def failed_edit_row(image: EditImage, attempts: int, status: str, error: Exception) -> Row:
    """Return the row of an image that could not be made, and why."""
    row = _row(image, attempts, status)
    return replace(row, error_type=type(error).__name__, error=" ".join(str(error).split()))


def _row(image: EditImage, attempts: int, status: str) -> Row:
    return Row(
        image_id=image.image_id,
        uri=image.uri,
        folder=folder_of(image.recipe.parents[0]) if image.recipe.parents else None,
        status=status,
        attempts=attempts,
        space="w+",
        seed=image.seed,
        embedded_at=datetime.now(UTC),
    )
