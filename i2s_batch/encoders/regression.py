"""Fits the ridge regression that predicts a latent from pooled pixels and feature maps."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

# Features whose deviation is below this part of the largest are constant for this generator: they predict nothing.
_CONSTANT = 1e-6
# Rows whose products are taken at once, in float64.
_ROWS = 512


@dataclass(frozen=True)
class Regression:
    """Holds a fitted regression: w = mean + ((f - feature_mean) * feature_scale) @ coefficients."""

    mean: np.ndarray
    feature_mean: np.ndarray
    feature_scale: np.ndarray
    coefficients: np.ndarray


def fit_ridge(features: np.ndarray, latents: np.ndarray, ridge: float) -> Regression:
    """Fit latents [N, w_dim] to features [N, F], standardised, with the penalty `ridge` on the coefficients.

    There are more features than samples, so the dual is solved: X'(XX' + ridge I)^-1 Y, a system of N equations.
    """
    feature_mean = features.mean(0, dtype=np.float64)
    deviation = features.std(0, dtype=np.float64)
    is_constant = deviation <= _CONSTANT * deviation.max(initial=0.0)
    scale = np.where(is_constant, 0.0, 1 / np.where(is_constant, 1.0, deviation))
    mean = latents.mean(0, dtype=np.float64)
    standard = ((features - feature_mean) * scale).astype(np.float32)
    gram = np.empty((len(standard), len(standard)))
    for start in range(0, len(standard), _ROWS):
        rows = standard[start : start + _ROWS].astype(np.float64)
        for other in range(0, start + 1, _ROWS):
            block = rows @ standard[other : other + _ROWS].astype(np.float64).T
            gram[start : start + _ROWS, other : other + _ROWS] = block
            gram[other : other + _ROWS, start : start + _ROWS] = block.T
    gram[np.diag_indices_from(gram)] += ridge
    dual = np.linalg.solve(gram, latents - mean)
    coefficients = np.zeros((features.shape[1], latents.shape[1]))
    for start in range(0, len(standard), _ROWS):
        rows = standard[start : start + _ROWS].astype(np.float64)
        coefficients += rows.T @ dual[start : start + _ROWS]
    return Regression(
        *(each.astype(np.float32) for each in (mean, feature_mean, scale, coefficients)),
    )
