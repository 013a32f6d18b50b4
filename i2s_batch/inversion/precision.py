"""Chooses the precision where the user says `auto`: the fastest that has been shown to be as good as float32.

The figures are those of docs/gpu.md, "Precision and quality"; whoever measures new ones changes both.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch

from i2s_batch.config import AUTO_PRECISION

# How far a precision may be from float32, over a set of images at the steps of a run.
LOSS_LIMIT = 0.01  # of the geometric mean of losses
PSNR_LIMIT_DB = 0.1
LPIPS_LIMIT = 0.01
# The first compute capability with TF32 and bfloat16 products (A100).
_TENSOR_FLOAT = (8, 0)


@dataclass(frozen=True)
class PrecisionQuality:
    """Holds what a precision has been measured to give beside float32.

    Attributes:
        precision: The precision.
        loss_ratio: The geometric mean of losses over float32's.
        psnr_db: Mean PSNR less float32's, in dB.
        lpips_ratio: Mean LPIPS over float32's; None where it was not measured.
        source: Where the figures are from.
    """

    precision: str
    loss_ratio: float
    psnr_db: float
    lpips_ratio: float | None
    source: str

    @property
    def keeps_limits(self) -> bool:
        """Return whether it is as good as float32; what was not measured decides nothing."""
        lpips = self.lpips_ratio is None or self.lpips_ratio <= 1 + LPIPS_LIMIT
        return self.loss_ratio <= 1 + LOSS_LIMIT and self.psnr_db >= -PSNR_LIMIT_DB and lpips


_SOURCE = "one H200, 16 images at 64 x 64, 3000 steps: docs/gpu/2026-11-27-h200-quality.jsonl"
# The precisions that are faster than float32 on a GPU, the fastest first.
QUALITY = (
    PrecisionQuality("bf16", 1.0251, -0.078, None, _SOURCE),
    PrecisionQuality("tf32", 1.0037, -0.001, None, _SOURCE),
)


@dataclass(frozen=True)
class PrecisionChoice:
    """Holds a precision and why it was chosen, in one line; an empty one where there was nothing to choose."""

    precision: str
    reason: str = ""


def choose_precision(asked: str, on_gpu: bool, capability: tuple[int, int] | None = None) -> PrecisionChoice:
    """Return the precision of a new run.

    Args:
        asked: What the user asks for; anything but `auto` is that.
        on_gpu: Whether the run computes on GPUs.
        capability: The compute capability of the GPU; None where this machine sees none: on a GPU without TF32, its
            flags change nothing.
    """
    if asked != AUTO_PRECISION:
        return PrecisionChoice(asked)
    if not on_gpu:
        return PrecisionChoice("fp32")
    if capability is not None and capability < _TENSOR_FLOAT:
        return PrecisionChoice("fp32", "precision: fp32, because this GPU has neither TF32 nor bfloat16 products")
    good = next((each for each in QUALITY if each.keeps_limits), None)
    if good is None:
        return PrecisionChoice("fp32", "precision: fp32, because no faster one has been shown to be as good")
    figures = f"measured losses {good.loss_ratio:.3f} times those of fp32, PSNR {good.psnr_db:+.3f} dB"
    return PrecisionChoice(
        good.precision, f"precision: {good.precision}, the fastest that is as good as fp32 ({figures})"
    )


def device_precision(asked: str, device: str) -> PrecisionChoice:
    """Return the precision of a new run on `device`, one of `config.DEVICES`, as this machine sees it."""
    sees_gpu = torch.cuda.is_available()
    on_gpu = device == "cuda" or (device == "auto" and sees_gpu)
    capability = torch.cuda.get_device_capability() if on_gpu and sees_gpu else None
    return choose_precision(asked, on_gpu, capability)
