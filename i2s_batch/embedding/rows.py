"""Rows of the latent table from results of embeddings; every column of `schema.columns.COLUMNS` is decided here."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timezone
from typing import Any

import numpy as np

from i2s_batch.config import TERMS, EmbedConfig
from i2s_batch.inversion import EmbedResult
from i2s_batch.output.units import Task
from i2s_batch.schema.columns import COLUMNS, STATUS_OK

# Evenly spaced values kept of a loss curve, beside 1, 3, 10, 30, 100, ...
CURVE_POINTS = 100


@dataclass(frozen=True)
class LoadedPicture:
    """What is known of a picture's file; None for what could not be found out."""

    sha256: str | None = None
    width: int | None = None
    height: int | None = None


def curve_steps(steps: int, end: int) -> np.ndarray:
    """The numbers of updates at which the table keeps the loss of an image that ended after `end` of `steps`: evenly
    spaced, and 1, 3, 10, 30, ..., the same for all images as far as they came."""
    even = np.arange(0, steps + 1, max(1, steps // CURVE_POINTS))
    decades = [factor * 10**power for power in range(7) for factor in (1, 3)]
    every = np.unique([*even, *(step for step in decades if step < steps), steps])
    return np.append(every[every < end], end)


def _common(task: Task, picture: LoadedPicture, config: EmbedConfig) -> dict[str, Any]:
    row: dict[str, Any] = {column.name: None for column in COLUMNS}
    return row | {
        "image_id": task.image_id,
        "uri": task.uri,
        "sha256": picture.sha256,
        "width": picture.width,
        "height": picture.height,
        "attempts": task.attempts,
        "space": config.space,
        "init": config.init,
        "seed": config.seed,
        "embedded_at": datetime.now(timezone.utc),
    }


def _curve(result: EmbedResult, config: EmbedConfig) -> dict[str, Any]:
    steps = curve_steps(config.steps, len(result.curve) - 1)
    return {"loss_curve": result.curve[steps], "loss_curve_steps": steps}


def result_row(task: Task, picture: LoadedPicture, result: EmbedResult, config: EmbedConfig) -> dict[str, Any]:
    """The row of an embedded image. `device` and `worker` are added by the worker."""
    assert result.latent is not None
    return (
        _common(task, picture, config)
        | {f"loss_{term}": result.terms[term] for term in TERMS}
        | {
            "status": STATUS_OK,
            "latent": result.latent.astype(np.float32).ravel(),
            "z": None if result.z is None else result.z.astype(np.float32),
            "steps": result.steps,
            "stop_reason": result.stop_reason,
            "loss": result.loss,
            "seconds": result.seconds,
        }
        | result.metrics
        | _curve(result, config)
    )


def failed_row(
    task: Task,
    picture: LoadedPicture,
    status: str,
    error: Exception,
    config: EmbedConfig,
    result: EmbedResult | None = None,
) -> dict[str, Any]:
    """The row of an image that has no latent, and why."""
    row = _common(task, picture, config) | {
        "status": status,
        "error_type": type(error).__name__,
        "error": " ".join(str(error).split()),
    }
    if result is not None:
        row |= {"steps": result.steps, "stop_reason": result.stop_reason, "seconds": result.seconds}
        row |= _curve(result, config)
    return row
