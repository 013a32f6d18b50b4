"""This module designs StyleGAN3's layers (Karras et al. 2021, section 3 and appendix C) for untrained generators.

Files bring their own design. Rates are in samples an image width, cutoffs and half-widths in periods an image width.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from i2s_batch.models.network_settings import TO_RGB, AliasFreeLayer

_LAYERS = 14  # besides the last, which makes the colours
_CRITICAL = 2  # of them, with the cutoff at half the sampling rate
_MARGIN = 10  # pixels on each side, so that no layer sees its border
_FIRST_CUTOFF, _FIRST_STOPBAND = 2.0, 2.0**2.1
_LAST_STOPBAND = 2.0**0.3  # over the last cutoff
_TAPS = 6  # of a filter, for each step of its factor
_QUADRATURE = 512


@dataclass(frozen=True)
class Band:
    """A band says what the signal after a layer may hold, and how it is sampled: `size` pixels with the margin."""

    cutoff: float
    half_width: float
    rate: int
    size: int


def bands(resolution: int) -> list[Band]:
    """Return the bands after each layer, cutoffs and stopbands growing geometrically up to the critical layers."""
    found = []
    for i in range(_LAYERS + 1):
        e = min(i / (_LAYERS - _CRITICAL), 1.0)
        cutoff = _FIRST_CUTOFF * (resolution / 2 / _FIRST_CUTOFF) ** e
        stopband = _FIRST_STOPBAND * (resolution / 2 * _LAST_STOPBAND / _FIRST_STOPBAND) ** e
        rate = 2 ** math.ceil(math.log2(min(2 * stopband, resolution)))
        size = resolution if i > _LAYERS - _CRITICAL else rate + 2 * _MARGIN
        found.append(Band(cutoff, max(stopband, rate / 2) - cutoff, rate, size))
    return found


@dataclass(frozen=True)
class Filters:
    """Holds the low-pass filters of a layer: after upsampling, and before downsampling."""

    up: np.ndarray
    down: np.ndarray


def layers_of(resolution: int, radial: bool) -> tuple[tuple[AliasFreeLayer, ...], list[Filters]]:
    """Return the layers of a generator, and the filters of all but the last. `radial`: configuration R."""
    every = bands(resolution)
    layers, filters = [], []
    for i in range(_LAYERS):
        before, after = every[max(i - 1, 0)], every[i]
        high_rate = 2 * max(before.rate, after.rate)
        up, down = high_rate // before.rate, high_rate // after.rate
        kernel, up_taps, down_taps = 1 if radial else 3, _TAPS * up, _TAPS * down
        # The padding makes `after.size` pixels of `before.size`, the larger half on the near side.
        total = (after.size - 1) * down + 1 + down_taps + up_taps - 2 - (before.size + kernel - 1) * up
        near = (total + up) // 2
        far = total - near
        is_radial = radial and i < _LAYERS - _CRITICAL
        layers.append(AliasFreeLayer(kernel, up, down, up_taps, down_taps, is_radial, (near, far, near, far)))
        down_filter = (radial_low_pass if is_radial else low_pass)(down_taps, after, high_rate)
        filters.append(Filters(low_pass(up_taps, before, high_rate), down_filter))
    return (*layers, TO_RGB), filters


def _kaiser(taps: int, half_width: float, rate: int) -> np.ndarray:
    """Return Kaiser's window for a transition of 2 `half_width` between pass band and stop band."""
    attenuation = 2.285 * (taps - 1) * math.pi * (4 * half_width / rate) + 7.95
    return np.kaiser(taps, _kaiser_beta(attenuation))


def _kaiser_beta(attenuation: float) -> float:
    """Return beta by Kaiser's rule; `attenuation` is in dB."""
    if attenuation > 50:
        return 0.1102 * (attenuation - 8.7)
    return 0.5842 * (attenuation - 21) ** 0.4 + 0.07886 * (attenuation - 21) if attenuation > 21 else 0.0


def low_pass(taps: int, band: Band, rate: int) -> np.ndarray:
    """Return the windowed sinc of a band at a sampling rate, of sum 1: float64 [taps]."""
    t = (np.arange(taps) - (taps - 1) / 2) / rate
    kernel: np.ndarray = np.sinc(2 * band.cutoff * t) * _kaiser(taps, band.half_width, rate)
    return kernel / float(kernel.sum())


def radial_low_pass(taps: int, band: Band, rate: int) -> np.ndarray:
    """Return the windowed jinc J1(2 pi cutoff r) / (pi r), the same in every direction.

    Its sum is 1; float64 [taps, taps].
    """
    t = (np.arange(taps) - (taps - 1) / 2) / rate
    r = np.hypot(t[:, None], t)
    window = _kaiser(taps, band.half_width, rate)
    kernel: np.ndarray = bessel_j1(2 * math.pi * band.cutoff * r) / (math.pi * r) * np.outer(window, window)
    return kernel / float(kernel.sum())


def bessel_j1(x: np.ndarray) -> np.ndarray:
    """Return J1 by its integral, cos(a - x sin a) over a half turn.

    The midpoint rule converges faster than any power.
    """
    a = (np.arange(_QUADRATURE) + 0.5) * (math.pi / _QUADRATURE)
    mean: np.ndarray = np.cos(a - x[..., None] * np.sin(a)).mean(-1)
    return mean
