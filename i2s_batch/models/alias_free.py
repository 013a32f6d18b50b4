"""The design of StyleGAN3's layers (Karras et al. 2021, section 3 and appendix C): for untrained generators, since
files bring their own. Rates are in samples an image width, cutoffs and half-widths in periods an image width."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np

_LAYERS = 14  # besides the last, which makes the colours
_CRITICAL = 2  # of them, with the cutoff at half the sampling rate
_MARGIN = 10  # pixels on each side, so that no layer sees its border
_FIRST_CUTOFF, _FIRST_STOPBAND = 2.0, 2.0**2.1
_LAST_STOPBAND = 2.0**0.3  # over the last cutoff
_TAPS = 6  # of a filter, for each step of its factor
_QUADRATURE = 512


@dataclass(frozen=True)
class Band:
    """What the signal after a layer may hold, and how it is sampled: `size` pixels with the margin."""

    cutoff: float
    half_width: float
    rate: int
    size: int


def bands(resolution: int) -> list[Band]:
    """The bands after each layer, cutoffs and stopbands growing geometrically up to the critical layers."""
    found = []
    for i in range(_LAYERS + 1):
        e = min(i / (_LAYERS - _CRITICAL), 1.0)
        cutoff = _FIRST_CUTOFF * (resolution / 2 / _FIRST_CUTOFF) ** e
        stopband = _FIRST_STOPBAND * (resolution / 2 * _LAST_STOPBAND / _FIRST_STOPBAND) ** e
        rate = 2 ** math.ceil(math.log2(min(2 * stopband, resolution)))
        size = resolution if i > _LAYERS - _CRITICAL else rate + 2 * _MARGIN
        found.append(Band(cutoff, max(stopband, rate / 2) - cutoff, rate, size))
    return found


def layers_of(resolution: int, radial: bool) -> tuple[list[dict[str, Any]], list[dict[str, np.ndarray]]]:
    """The `layers` setting of a generator, and each layer's up_filter and down_filter. `radial`: configuration R."""
    every = bands(resolution)
    settings, filters = [], []
    for i in range(_LAYERS):
        before, after = every[max(i - 1, 0)], every[i]
        high_rate = 2 * max(before.rate, after.rate)
        up, down = high_rate // before.rate, high_rate // after.rate
        layer: dict[str, Any] = {"kernel": 1 if radial else 3, "up": up, "down": down}
        layer |= {"up_taps": _TAPS * up, "down_taps": _TAPS * down}
        layer["radial"] = radial and i < _LAYERS - _CRITICAL
        layer["padding"] = _padding(layer, before.size, after.size)
        settings.append(layer)
        down_filter = radial_low_pass if layer["radial"] else low_pass
        filters.append(
            {
                "up_filter": low_pass(layer["up_taps"], before, high_rate),
                "down_filter": down_filter(layer["down_taps"], after, high_rate),
            }
        )
    to_rgb = {"kernel": 1, "up": 1, "down": 1, "up_taps": 1, "down_taps": 1, "radial": False, "padding": [0, 0, 0, 0]}
    return [*settings, to_rgb], filters


def _padding(layer: dict[str, Any], before: int, after: int) -> list[int]:
    """What makes `after` pixels of `before`, the larger half on the near side."""
    high_rate = (after - 1) * layer["down"] + 1 + layer["down_taps"] + layer["up_taps"] - 2
    total = high_rate - (before + layer["kernel"] - 1) * layer["up"]
    near = (total + layer["up"]) // 2
    return [near, total - near] * 2


def _kaiser(taps: int, half_width: float, rate: int) -> np.ndarray:
    """Kaiser's window for a transition of 2 `half_width` between pass band and stop band."""
    attenuation = 2.285 * (taps - 1) * math.pi * (4 * half_width / rate) + 7.95
    return np.kaiser(taps, _kaiser_beta(attenuation))


def _kaiser_beta(attenuation: float) -> float:
    """Kaiser's rule; `attenuation` in dB."""
    if attenuation > 50:
        return 0.1102 * (attenuation - 8.7)
    return 0.5842 * (attenuation - 21) ** 0.4 + 0.07886 * (attenuation - 21) if attenuation > 21 else 0.0


def low_pass(taps: int, band: Band, rate: int) -> np.ndarray:
    """The windowed sinc of a band at a sampling rate, of sum 1: float64 [taps]."""
    t = (np.arange(taps) - (taps - 1) / 2) / rate
    kernel = np.sinc(2 * band.cutoff * t) * _kaiser(taps, band.half_width, rate)
    return kernel / kernel.sum()


def radial_low_pass(taps: int, band: Band, rate: int) -> np.ndarray:
    """The windowed jinc J1(2 pi cutoff r) / (pi r), the same in every direction, of sum 1: float64 [taps, taps]."""
    t = (np.arange(taps) - (taps - 1) / 2) / rate
    r = np.hypot(t[:, None], t)
    window = _kaiser(taps, band.half_width, rate)
    kernel = bessel_j1(2 * math.pi * band.cutoff * r) / (math.pi * r) * np.outer(window, window)
    return kernel / kernel.sum()


def bessel_j1(x: np.ndarray) -> np.ndarray:
    """J1 by its integral, cos(a - x sin a) over a half turn; the midpoint rule converges faster than any power."""
    a = (np.arange(_QUADRATURE) + 0.5) * (math.pi / _QUADRATURE)
    return np.cos(a - x[..., None] * np.sin(a)).mean(-1)
