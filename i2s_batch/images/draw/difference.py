"""Draws the difference of two images as colours whose scale never saturates, and knows what the colours mean."""

from __future__ import annotations

import numpy as np

# Marks of the scale: the largest difference is its end.
MARKS = (0, 5, 20, 50, 100, 255)
# Colours from no difference to the largest, evenly spaced, between which there are steps: black, violet, red, yellow.
COLOURS = ((0, 0, 4), (87, 16, 110), (188, 55, 84), (249, 142, 9), (252, 255, 164))


def position(difference: float) -> float:
    """Return where a difference, from 0 to 255, stands on the scale, from 0 to 1: its square root.

    A few steps are seen as well as a hundred, and 255 is the end.
    """
    return float(np.sqrt(difference / 255))


def difference_image(one: np.ndarray, other: np.ndarray) -> np.ndarray:
    """Return the differences of two images, uint8 [R, R, 3], as colours: each pixel's largest of its three channels."""
    largest = np.abs(one.astype(np.int16) - other).max(axis=2)
    colours: np.ndarray = _table()[largest]
    return colours


def _table() -> np.ndarray:
    """Return the colours of all differences, uint8 [256, 3]."""
    at = np.sqrt(np.arange(256) / 255)
    stops = np.linspace(0, 1, len(COLOURS))
    channels = [np.interp(at, stops, [colour[channel] for colour in COLOURS]) for channel in range(3)]
    table: np.ndarray = np.round(np.stack(channels, 1)).astype(np.uint8)
    return table
