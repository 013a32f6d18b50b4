"""Formats the figures in the table and the findings of a study, and the sentences that several studies share."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import numpy as np

from i2s_batch.studies.results import Result, Value
from i2s_batch.studies.statistics import Ratio
from i2s_batch.studies.study import Results


def figure(value: float, digits: int = 3) -> str:
    """Return a number with so many significant digits, without an exponent where it can be avoided."""
    if not math.isfinite(value):
        return "∞" if value > 0 else "–"
    if value == 0 or not 1e-3 <= abs(value) < 1e6:
        return f"{value:.{digits}g}"
    return f"{value:.{max(0, digits - 1 - math.floor(math.log10(abs(value))))}f}"


def stated(name: str, ratio: Ratio, what: str = "loss") -> str:
    """Return 'rotate 90: loss 2.1x, 95 % interval 1.8 to 2.4, n = 25'."""
    interval = ""
    if ratio.low is not None and ratio.high is not None:
        interval = f", 95 % interval {figure(ratio.low, 2)} to {figure(ratio.high, 2)}"
    return f"{name}: {what} {figure(ratio.value, 2)}x{interval}, n = {ratio.n}"


def listed(results: Results, ratios: Mapping[str, Ratio], what: str = "loss") -> str:
    """Return the ratios of several variants in one sentence."""
    return "; ".join(stated(results.title(name), ratio, what) for name, ratio in ratios.items())


def labelled(label: str, text: str) -> str:
    """Return the text with the class in front, where there is one."""
    return f"{label}: {text}" if label else text


def direction(ratio: Ratio) -> str:
    """Return 'higher' or 'lower' if the interval shows it, else ''."""
    if ratio.low is None or ratio.high is None:
        return ""
    return "higher" if ratio.low > 1 else "lower" if ratio.high < 1 else ""


def loss_ratios(results: Results, label: str | None = None) -> dict[str, Ratio]:
    """Return the loss of every other variant against the baseline's, the largest first; `label`: of one class."""
    study = results.study
    others = [variant.name for variant in study.variants if variant.name != study.baseline]
    found = {name: results.ratio(name, study.baseline, label=label) for name in others}
    known = {name: ratio for name, ratio in found.items() if ratio is not None}
    return dict(sorted(known.items(), key=lambda item: -item[1].value))


def mean_of(results: Sequence[Result], value: Value) -> float | None:
    """Return the mean of what is finite; None if nothing is."""
    values = [number for one in results if np.isfinite(number := value(one))]
    return float(np.mean(values)) if values else None
