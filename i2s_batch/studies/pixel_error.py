"""Measures the error of one image against another, over some of its pixels."""

from __future__ import annotations

import numpy as np


def mean_squared_error(a: np.ndarray, b: np.ndarray, where: np.ndarray) -> float:
    """Return the mean squared error of images uint8 [R, R, 3], peak 255, where bool [R, R] is true; 0 if nowhere."""
    return float(np.square(a[where].astype(np.float64) - b[where]).mean()) if where.any() else 0.0
