"""Holds the rows of a study as its findings need them."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TypeAlias

import numpy as np


@dataclass(frozen=True)
class Result:
    """Holds one embedded variant of an image.

    Attributes:
        image: The image's id in the source.
        label: The image's class, '' if it has none.
        loss: The sum of the terms with the weights of the study, whatever its variant was optimised for.
        distance: The distance to the mean latent, norm(w* - w_avg) over all layers.
        psnr: In dB, peak 255.
        curve: The variant's own loss after each of some steps.
        busy: Start and end of its time in a slot, in seconds of some clock, without the time of an earlier variant that
            it continues.
        measured: The values of the study's own measures, by name; what could not be measured is missing.
    """

    variant: str
    image: str
    label: str
    loss: float
    distance: float
    psnr: float
    lpips: float | None
    steps: int
    curve: tuple[tuple[int, float], ...]
    worker: str
    device: str
    busy: tuple[float, float]
    measured: Mapping[str, float] = field(default_factory=dict)

    def measure(self, name: str) -> float:
        """Return one of `measured`; NaN if it could not be measured."""
        return self.measured.get(name, math.nan)


Value: TypeAlias = Callable[[Result], float]


def mean_curve(results: Sequence[Result]) -> tuple[np.ndarray, np.ndarray]:
    """Return steps [K] and the mean of the losses after each [K]; between its points a curve is straight."""
    steps = np.unique([step for one in results for step, _ in one.curve])
    curves = [np.array(one.curve, float) for one in results]
    return steps, np.mean([np.interp(steps, curve[:, 0], curve[:, 1]) for curve in curves], axis=0)
