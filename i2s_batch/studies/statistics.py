"""Means, and ratios of pairs with their 95 % intervals."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

# Student's t: 97.5 % quantiles for 1 to 30 degrees of freedom. With more, 1.96 + 2.4 / degrees is right to 0.1 %.
# fmt: off
_T = (
    12.706, 4.303, 3.182, 2.776, 2.571, 2.447, 2.365, 2.306, 2.262, 2.228, 2.201, 2.179, 2.160, 2.145, 2.131,
    2.120, 2.110, 2.101, 2.093, 2.086, 2.080, 2.074, 2.069, 2.064, 2.060, 2.056, 2.052, 2.048, 2.045, 2.042,
)
# fmt: on


@dataclass(frozen=True)
class Spread:
    """Holds `mean` and standard deviation of `n` values; the deviation of fewer than two is None."""

    n: int
    mean: float
    deviation: float | None


@dataclass(frozen=True)
class Ratio:
    """Holds the geometric mean of `n` ratios of pairs, and its 95 % interval; of fewer than two pairs there is none."""

    n: int
    value: float
    low: float | None = None
    high: float | None = None


def spread(values: Sequence[float]) -> Spread | None:
    """Return mean and standard deviation of some values; None of none."""
    if not len(values):
        return None
    deviation = float(np.std(values, ddof=1)) if len(values) > 1 else None
    return Spread(len(values), float(np.mean(values)), deviation)


def paired_ratio(values: Sequence[float], baseline: Sequence[float]) -> Ratio | None:
    """Return how many times `baseline` the `values` of the same images are, in the geometric mean; None without a pair.

    The interval is Student's, of the mean of the logarithms. Pairs that are not both positive and finite are left out.
    """
    pairs = np.array([(v, b) for v, b in zip(values, baseline, strict=True) if 0 < v < np.inf and 0 < b < np.inf])
    if not len(pairs):
        return None
    logs = np.log(pairs[:, 0] / pairs[:, 1])
    value = float(np.exp(logs.mean()))
    degrees = len(logs) - 1
    if degrees < 1:
        return Ratio(1, value)
    t = _T[degrees - 1] if degrees <= len(_T) else 1.96 + 2.4 / degrees
    half = t * np.std(logs, ddof=1) / np.sqrt(len(logs))
    return Ratio(len(logs), value, float(np.exp(logs.mean() - half)), float(np.exp(logs.mean() + half)))
