"""Makes rows of the latent table from edited latents."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime

import numpy as np

from i2s_batch.editing.units import EditImage
from i2s_batch.schema.columns import STATUS_OK
from i2s_batch.schema.row import Row


def edited_row(
    image: EditImage, attempts: int, latent: np.ndarray, w_distance: float, sha256: str, shape: tuple[int, ...]
) -> Row:
    """Return the row of an image that was made from a latent, float32 [L, w_dim]; `shape`: the image's, [H, W, 3].

    There is no target, so there is no loss and no image metric. The recipe's columns come from the plan.
    """
    return replace(
        _row(image, attempts, STATUS_OK),
        latent=latent.ravel(),
        metrics={"w_distance": w_distance},
        sha256=sha256,
        height=shape[0],
        width=shape[1],
    )


def failed_edit_row(image: EditImage, attempts: int, status: str, error: Exception) -> Row:
    """Return the row of an image that could not be made, and why."""
    row = _row(image, attempts, status)
    return replace(row, error_type=type(error).__name__, error=" ".join(str(error).split()))


def _row(image: EditImage, attempts: int, status: str) -> Row:
    return Row(
        image_id=image.image_id,
        uri=image.uri,
        status=status,
        attempts=attempts,
        space="w+",
        seed=image.seed,
        embedded_at=datetime.now(UTC),
    )
