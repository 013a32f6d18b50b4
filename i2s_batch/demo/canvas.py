"""Paints batches of soft-edged shapes: signed distances, coverage, compositing.

Units: an image spans [-1, 1] in x (to the right) and y (downwards). Distances are negative inside. A batch of N images
is painted at once: arrays are [N, 1, 1] (a number an image) or [N, H, W].
"""

from __future__ import annotations

import numpy as np

Array = np.ndarray


def ellipse(x: Array, y: Array, radius_x: Array | float, radius_y: Array | float) -> Array:
    """Return the distance to the ellipse round the origin, exact to first order near its outline."""
    # f / |grad f| of f = |(x / a, y / b)| - 1; the small constant keeps the centre finite
    a, b = 1 / radius_x, 1 / radius_y
    p, q = x * a, y * b
    radius = np.sqrt(p * p + q * q + 1e-6)
    slope = np.sqrt((p * a) ** 2 + (q * b) ** 2 + 1e-6) / radius
    return (radius - 1) / slope


def box(x: Array, y: Array, half_width: Array | float, half_height: Array | float, corner: float) -> Array:
    """Return the distance to the box round the origin, its corners rounded with radius `corner`."""
    dx = np.abs(x) - (half_width - corner)
    dy = np.abs(y) - (half_height - corner)
    outside = np.sqrt(np.maximum(dx, 0) ** 2 + np.maximum(dy, 0) ** 2)
    distance: np.ndarray = outside + np.minimum(np.maximum(dx, dy), 0) - corner
    return distance


def colour(red: float, green: float, blue: float) -> Array:
    """Return one colour for every image and pixel, channels in [0, 1]: float32 [1, 3, 1, 1]."""
    return np.array([red, green, blue], np.float32).reshape(1, 3, 1, 1)


class Canvas:
    """Holds N images that are being painted: `rgb` float32 [N, 3, H, W] in [0, 1]."""

    def __init__(self, background: Array, size: int) -> None:
        self.rgb = background  # [N, 3, H, W]
        self.pixel = 2 / size  # width of a pixel; also the width of an edge

    def cover(self, distance: Array, softness: float = 0.0) -> Array:
        """Return the part of each pixel that a shape covers, [0, 1]: a ramp one pixel wide, or `softness` if wider."""
        width = max(self.pixel * 1.25, softness)
        return np.clip(0.5 - distance / width, 0, 1)

    def paint(self, cover: Array, colour: Array) -> None:
        """Lay `colour` ([N, 3, 1, 1] or [N, 3, H, W]) over the image where `cover` [N, H, W] is above 0."""
        self.rgb += cover[:, None] * (colour - self.rgb)

    def shade(self, cover: Array, factor: Array | float) -> None:
        """Multiply by `factor` ([N, H, W], [N, 1, 1] or a number) where `cover` [N, H, W] is above 0."""
        self.rgb *= (1 + cover * (factor - 1))[:, None]
