"""Makes rows of the latent table from results of embeddings.

Every column of `schema.columns.COLUMNS` is set here, but for those that all rows of a run share, which the work log
adds (`schema.row.RowOrigin`).
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import TypedDict

import numpy as np

from i2s_batch.config import EmbedConfig
from i2s_batch.embedding.units import EmbedUnit
from i2s_batch.errors import DetectorError, NoFaceError, PictureError, TooSmallError
from i2s_batch.images.read.sniff import has_image_name
from i2s_batch.inversion import EmbedResult, NoiseResult
from i2s_batch.output.units import Task
from i2s_batch.schema.columns import (
    STATUS_CRASHED,
    STATUS_NO_FACE,
    STATUS_NOT_AN_IMAGE,
    STATUS_OK,
    STATUS_TOO_SMALL,
    STATUS_UNREADABLE,
    folder_of,
)
from i2s_batch.schema.row import Row

# Evenly spaced values that are kept of a loss curve, beside 1, 3, 10, 30, 100, ...
CURVE_POINTS = 100


@dataclass(frozen=True)
class LoadedImage:
    """Holds what is known of an image file; None for what could not be determined."""

    sha256: str | None = None
    bytes: int | None = None
    format: str | None = None
    mode: str | None = None
    width: int | None = None
    height: int | None = None
    crop_box: tuple[float, float, float, float] | None = None
    landmarks: np.ndarray | None = None
    transform: np.ndarray | None = None


def curve_steps(steps: int, end: int) -> np.ndarray:
    """Return the numbers of steps at which the table keeps the loss of an image that ended after `end` of `steps`.

    They are evenly spaced, and 1, 3, 10, 30, ..., the same for all images as far as they got.
    """
    even = np.arange(0, steps + 1, max(1, steps // CURVE_POINTS))
    decades = [factor * 10**power for power in range(7) for factor in (1, 3)]
    every = np.unique([*even, *(step for step in decades if step < steps), steps])
    return np.append(every[every < end], end)


def result_row(task: Task[EmbedUnit], image: LoadedImage, result: EmbedResult, device: str, worker: str) -> Row:
    """Return the row of an embedded image."""
    assert result.latent is not None
    settings = task.unit.settings.embed
    return replace(
        _row(task, image, STATUS_OK, device, worker),
        latent=result.latent.astype(np.float32).ravel(),
        z=None if result.z is None else result.z.astype(np.float32),
        loss=result.loss,
        loss_prior=result.prior,
        terms=result.terms,
        metrics=result.metrics,
        **_optimisation(result, settings),
        **_noise(result.noise),
    )


def failure_status(error: PictureError, uri: str) -> str:
    """Return the status of an image that cannot be embedded."""
    if isinstance(error, NoFaceError):
        return STATUS_NO_FACE
    if isinstance(error, TooSmallError):
        return STATUS_TOO_SMALL
    if isinstance(error, DetectorError):
        return STATUS_CRASHED
    return STATUS_UNREADABLE if error.is_image or has_image_name(uri) else STATUS_NOT_AN_IMAGE


def failed_row(
    task: Task[EmbedUnit],
    image: LoadedImage,
    status: str,
    error: Exception,
    result: EmbedResult | None = None,
    device: str | None = None,
    worker: str | None = None,
) -> Row:
    """Return the row of an image that has no latent, and why."""
    row = _row(task, image, status, device, worker)
    row = replace(row, error_type=type(error).__name__, error=" ".join(str(error).split()))
    return row if result is None else replace(row, **_optimisation(result, task.unit.settings.embed))


def _row(task: Task[EmbedUnit], image: LoadedImage, status: str, device: str | None, worker: str | None) -> Row:
    config = task.unit.settings.embed
    return Row(
        image_id=task.image_id,
        uri=task.unit.uri,
        status=status,
        attempts=task.attempts,
        space=config.space,
        embedded_at=datetime.now(UTC),
        folder=folder_of(task.image_id),
        sha256=image.sha256,
        bytes=image.bytes,
        format=image.format,
        mode=image.mode,
        width=image.width,
        height=image.height,
        crop_box=None if image.crop_box is None else np.array(image.crop_box, np.float32),
        landmarks=image.landmarks,
        transform=image.transform,
        init=config.init,
        seed=config.seed,
        device=device,
        worker=worker,
    )


class _Noise(TypedDict, total=False):
    noise_steps: int
    noise_loss: float
    noise_mse: float
    noise_psnr: float
    noise_ssim: float


def _noise(noise: NoiseResult | None) -> _Noise:
    """Return the columns that describe the noise stage; none without maps."""
    if noise is None:
        return {}
    return {
        "noise_steps": noise.steps,
        "noise_loss": noise.loss,
        "noise_mse": noise.mse,
        "noise_psnr": noise.psnr,
        "noise_ssim": noise.ssim,
    }


class _Optimisation(TypedDict):
    steps: int
    evaluations: int
    stop_reason: str
    seconds: float
    loss_curve: np.ndarray
    loss_curve_steps: np.ndarray


def _optimisation(result: EmbedResult, config: EmbedConfig) -> _Optimisation:
    """Return the columns that describe the optimisation."""
    steps = curve_steps(config.steps, len(result.curve) - 1)
    return {
        "steps": result.steps,
        "evaluations": len(result.curve),
        "stop_reason": result.stop_reason,
        "seconds": result.seconds,
        "loss_curve": result.curve[steps],
        "loss_curve_steps": steps,
    }
