"""Rows of the latent table from edited latents; every column of `schema.columns.COLUMNS` is decided here."""

from __future__ import annotations

from datetime import datetime, timezone
from typing import Any

import numpy as np

from i2s_batch.schema.columns import COLUMNS, STATUS_OK


def edited_row(
    image: dict[str, Any], attempts: int, code: np.ndarray, w_distance: float, sha256: str, shape: tuple[int, ...]
) -> dict[str, Any]:
    """The row of a picture that was made from a code, float32 [L, w_dim]; `image` is its row of the plan. There is
    no target, so there is no loss and no metric of likeness. The recipe's columns come from the plan."""
    return _edit(image, attempts) | {
        "status": STATUS_OK,
        "latent": code.ravel(),
        "w_distance": w_distance,
        "sha256": sha256,
        "height": shape[0],
        "width": shape[1],
    }


def failed_edit_row(image: dict[str, Any], attempts: int, status: str, error: Exception) -> dict[str, Any]:
    """The row of a picture that could not be made, and why."""
    return _edit(image, attempts) | {
        "status": status,
        "error_type": type(error).__name__,
        "error": " ".join(str(error).split()),
    }


def _edit(image: dict[str, Any], attempts: int) -> dict[str, Any]:
    row: dict[str, Any] = {column.name: None for column in COLUMNS}
    return row | {
        "image_id": image["image_id"],
        "uri": image["uri"],
        "attempts": attempts,
        "space": "w+",
        "embedded_at": datetime.now(timezone.utc),
    }
