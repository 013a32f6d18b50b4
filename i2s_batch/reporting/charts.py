"""Draws charts as inline SVG, without scripts; colours come from the page's style, so that they follow dark mode."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from markupsafe import Markup

WIDTH, HEIGHT = 420, 190  # user units; the page scales them
LEFT, RIGHT, TOP, BOTTOM = 70, 12, 10, 26  # the longest number() takes 62 units on the left
BINS = 32
CHARACTER = 7.2  # the width of a character of a label, at most
UNITS = ((" d", 86400), (" h", 3600), (" min", 60), (" s", 1))


def number(value: float) -> str:
    """Return a number for an axis or a table: four significant digits, without an exponent where it can be avoided."""
    if not math.isfinite(value):
        return "∞" if value > 0 else "-∞" if value < 0 else "none"
    if value == round(value) and abs(value) < 1e6:
        return f"{value:.0f}"
    return f"{value:.4g}" if 1e-4 <= abs(value) < 1e6 else f"{value:.2e}"


def histogram(values: np.ndarray, name: str) -> Markup:
    """Return a histogram with the median marked; values that are not finite are left out."""
    finite = values[np.isfinite(values)]
    if not len(finite):
        return Markup("")
    counts, edges = np.histogram(finite, bins=min(BINS, max(6, math.isqrt(len(finite)) * 2)))
    median = float(np.median(finite))
    x = Scale(edges[0], edges[-1], LEFT, WIDTH - RIGHT)
    mark = f'<line class="mark" x1="{x(median):.1f}" x2="{x(median):.1f}" y1="{TOP}" y2="{HEIGHT - BOTTOM}"/>'
    return _frame(_bars(counts, edges, x) + mark, x, _CountScale(counts), f"{name}: histogram")


def bars_over_time(counts: np.ndarray, edges: np.ndarray, name: str) -> Markup:
    """Return a chart of counts between edges in seconds; the axis is in the unit that suits their span."""
    unit, seconds = next((pair for pair in UNITS if edges[-1] >= 2 * pair[1]), UNITS[-1])
    scaled = edges / seconds
    x = Scale(scaled[0], scaled[-1], LEFT, WIDTH - RIGHT)
    return _frame(_bars(counts, scaled, x), x, _CountScale(counts), name, unit)


def bands(steps: np.ndarray, quantiles: np.ndarray, name: str) -> Markup:
    """Return a chart of five quantiles [5, K] over steps [K], as two bands round a line; both axes are logarithmic."""
    seen = (steps > 0) & (quantiles > 0).all(axis=0) & np.isfinite(quantiles).all(axis=0)
    if not seen.any():
        return Markup("")
    steps, quantiles = steps[seen], quantiles[:, seen]
    x = LogScale(steps.min(), steps.max(), LEFT, WIDTH - RIGHT)
    y = LogScale(quantiles.min(), quantiles.max(), HEIGHT - BOTTOM, TOP)
    lines = [[(x(step), y(value)) for step, value in zip(steps, line, strict=True)] for line in quantiles]
    body = f'<polygon class="wide" points="{_points(lines[0] + lines[4][::-1])}"/>'
    body += f'<polygon class="narrow" points="{_points(lines[1] + lines[3][::-1])}"/>'
    body += f'<polyline class="line" points="{_points(lines[2])}"/>'
    return _frame(body, x, y, name)


class Scale:
    """Maps values linearly to user units, and chooses the values of the ticks."""

    def __init__(self, low: float, high: float, first: float, last: float) -> None:
        self.low, self.high = float(low), float(high) if high > low else float(low) + 1
        self.first, self.last = first, last

    def __call__(self, value: float) -> float:
        """Return the position of a value in user units."""
        return self.first + (value - self.low) / (self.high - self.low) * (self.last - self.first)

    def ticks(self) -> list[float]:
        """Return about four round numbers."""
        rough = (self.high - self.low) / 4
        power = 10.0 ** math.floor(math.log10(rough))
        step = next(power * factor for factor in (1, 2, 2.5, 5, 10) if power * factor >= rough)
        first = math.ceil(self.low / step - 1e-9)
        return [round(i * step, 12) for i in range(first, first + 12) if i * step <= self.high + step * 1e-9]


class LogScale(Scale):
    """Maps positive values logarithmically."""

    def __init__(self, low: float, high: float, first: float, last: float) -> None:
        super().__init__(math.log10(low), math.log10(max(high, low * 1.01)), first, last)

    def __call__(self, value: float) -> float:
        """Return the position of a value in user units."""
        return super().__call__(math.log10(value))

    def ticks(self) -> list[float]:
        """Return powers of ten; between them 1, 2, 5 where there are too few."""
        powers = range(math.floor(self.low), math.ceil(self.high) + 1)
        for factors in ((1,), (1, 3), (1, 2, 5), (1, 1.5, 2, 3, 4, 5, 6, 8)):
            found = [f * 10.0**p for p in powers for f in factors]
            inside = [value for value in found if self.low - 1e-9 <= math.log10(value) <= self.high + 1e-9]
            if len(inside) >= 3:
                break
        return inside


class _CountScale(Scale):
    """Maps counts from 0 to the largest, upwards; its ticks are whole numbers."""

    def __init__(self, counts: np.ndarray) -> None:
        super().__init__(0, counts.max(), HEIGHT - BOTTOM, TOP)

    def ticks(self) -> list[float]:
        return [value for value in super().ticks() if value == round(value)]


def _bars(counts: np.ndarray, edges: np.ndarray, x: Scale) -> str:
    y = _CountScale(counts)
    bars = []
    for count, low, high in zip(counts.tolist(), edges[:-1].tolist(), edges[1:].tolist(), strict=True):
        if count:
            width = max(0.5, x(high) - x(low) - 1)
            box = f'x="{x(low):.1f}" y="{y(count):.1f}" width="{width:.1f}" height="{y(0) - y(count):.1f}"'
            bars.append(f'<rect class="bar" {box}><title>{number(low)} to {number(high)}: {count}</title></rect>')
    return "".join(bars)


def _points(points: Sequence[tuple[float, float]]) -> str:
    return " ".join(f"{x:.1f},{y:.1f}" for x, y in points)


def _frame(body: str, x: Scale, y: Scale, name: str, unit: str = "") -> Markup:
    """Return axes and ticks round `body`; `name` is escaped, all other text is made here."""
    base = HEIGHT - BOTTOM
    axes = [f'<line class="axis" x1="{LEFT}" x2="{WIDTH - RIGHT}" y1="{base}" y2="{base}"/>']
    for value in y.ticks():
        axes.append(f'<line class="grid" x1="{LEFT}" x2="{WIDTH - RIGHT}" y1="{y(value):.1f}" y2="{y(value):.1f}"/>')
        axes.append(f'<text x="{LEFT - 5}" y="{y(value) + 4:.1f}" text-anchor="end">{number(value)}</text>')
    for value in x.ticks():
        label = f"{number(value)}{unit}"
        half = len(label) * CHARACTER / 2
        middle = min(max(x(value), half), WIDTH - half)  # no label is cut at the edge
        axes.append(f'<text x="{middle:.1f}" y="{HEIGHT - 8}" text-anchor="middle">{label}</text>')
    frame = Markup('<svg class="chart" viewBox="0 0 {} {}" role="img" aria-label="{}">').format(WIDTH, HEIGHT, name)
    return frame + Markup("".join(axes) + body + "</svg>")
