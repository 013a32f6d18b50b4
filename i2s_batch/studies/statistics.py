"""Means, and ratios of pairs with what can be said for sure of them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

_RESAMPLES = 10_000


@dataclass(frozen=True)
class Spread:
    """`mean` and standard deviation of `n` values; the deviation of fewer than two is None."""

    n: int
    mean: float
    deviation: float | None


@dataclass(frozen=True)
class Ratio:
    """The geometric mean of `n` ratios of pairs, and its 95 % interval; of fewer than two pairs there is none."""

    n: int
    value: float
    low: float | None = None
    high: float | None = None


def spread(values: Sequence[float]) -> Spread | None:
    """Of at least one value; None of none."""
    if not len(values):
        return None
    deviation = float(np.std(values, ddof=1)) if len(values) > 1 else None
    return Spread(len(values), float(np.mean(values)), deviation)


def paired_ratio(values: Sequence[float], baseline: Sequence[float], seed: int = 0) -> Ratio | None:
    """How many times `baseline` the `values` of the same pictures are, in the geometric mean; None without a pair.

    The interval is that of the percentile bootstrap over pictures: 10,000 seeded resamples. Pairs that are not both
    positive and finite are left out.
    """
    pairs = np.array([(v, b) for v, b in zip(values, baseline, strict=True) if 0 < v < np.inf and 0 < b < np.inf])
    if not len(pairs):
        return None
    logs = np.log(pairs[:, 0] / pairs[:, 1])
    value = float(np.exp(logs.mean()))
    if len(logs) < 2:
        return Ratio(len(logs), value)
    stream = np.random.default_rng(seed)
    means = logs[stream.integers(0, len(logs), (_RESAMPLES, len(logs)))].mean(1)
    low, high = np.exp(np.quantile(means, (0.025, 0.975))).tolist()
    return Ratio(len(logs), value, low, high)
