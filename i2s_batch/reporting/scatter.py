"""Draws panels of named points on logarithmic axes, as SVG or PNG, on white.

    figure = scatter_figure([[Panel("loss", "evaluations", points), Panel("loss", "seconds", others)]])
    Path("pareto.svg").write_bytes(figure.svg())

A name has the same colour and number in every panel, and stands in the legend under them.
"""

from __future__ import annotations

import io
import math
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape

from PIL import Image, ImageDraw

from i2s_batch.images.draw.text import LINE_HEIGHT, draw_text, text_width
from i2s_batch.reporting.charts import LogScale, number

_WIDTH, _HEIGHT = 440, 250  # of a panel, in user units
_LEFT, _RIGHT, _TOP, _BOTTOM = 70, 20, 28, 46
_RADIUS = 5
_ROOM = 1.3  # the axes reach so many times beyond the outermost points
_FINER = 4  # shapes of a PNG are drawn so many times larger, and then reduced, for smooth edges
_TEXT, _SOFT, _GRID = "#1d2129", "#5d6675", "#e1e4ea"
# The palette of Okabe and Ito, which people who cannot distinguish red from green can read; greys after it.
_COLOURS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#8a8a8a", "#444444")


@dataclass(frozen=True)
class Point:
    """Holds a named point; one whose coordinates are not both positive and finite is not drawn."""

    name: str
    x: float
    y: float


@dataclass(frozen=True)
class Panel:
    """Holds a chart: the meaning of its axes, its points, and heights with a name that dashed lines show."""

    y_title: str
    x_title: str
    points: tuple[Point, ...]
    levels: tuple[tuple[str, float], ...] = ()


@dataclass(frozen=True)
class _Line:
    ends: tuple[float, float, float, float]
    colour: str


@dataclass(frozen=True)
class _Dot:
    x: float
    y: float
    colour: str


@dataclass(frozen=True)
class _Words:
    """Holds a line of text whose middle is at height `y`; `anchor`: start, middle or end of it is at `x`."""

    x: float
    y: float
    text: str
    colour: str
    anchor: str = "start"


@dataclass(frozen=True)
class ScatterFigure:
    """Holds the shapes of a figure in user units."""

    width: float
    height: float
    lines: tuple[_Line, ...]
    dots: tuple[_Dot, ...]
    words: tuple[_Words, ...]

    def svg(self) -> bytes:
        """Return the figure as an SVG file."""
        parts = [f'<rect width="{self.width:g}" height="{self.height:g}" fill="#ffffff"/>']
        for line in self.lines:
            x1, y1, x2, y2 = line.ends
            parts.append(f'<line x1="{x1:.1f}" y1="{y1:.1f}" x2="{x2:.1f}" y2="{y2:.1f}" stroke="{line.colour}"/>')
        for dot in self.dots:
            parts.append(f'<circle cx="{dot.x:.1f}" cy="{dot.y:.1f}" r="{_RADIUS}" fill="{dot.colour}"/>')
        for each in self.words:
            where = f'x="{each.x:.1f}" y="{each.y + 4:.1f}" text-anchor="{each.anchor}" fill="{each.colour}"'
            parts.append(f"<text {where}>{escape(each.text)}</text>")
        head = f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {self.width:g} {self.height:g}"'
        return f'{head} font-family="sans-serif" font-size="12">{"".join(parts)}</svg>\n'.encode()

    def png(self) -> bytes:
        """Return the figure as a PNG file, a pixel to a unit."""
        size = (round(self.width), round(self.height))
        image = Image.new("RGB", (size[0] * _FINER, size[1] * _FINER), "#ffffff")
        pen = ImageDraw.Draw(image)
        for line in self.lines:
            pen.line([end * _FINER for end in line.ends], fill=line.colour, width=_FINER)
        for dot in self.dots:
            box = [(at + by) * _FINER for by in (-_RADIUS, _RADIUS) for at in (dot.x, dot.y)]
            pen.ellipse(box, fill=dot.colour)
        image = image.resize(size, Image.Resampling.BOX)
        pen = ImageDraw.Draw(image)
        for each in self.words:
            before = {"start": 0.0, "middle": 0.5, "end": 1.0}[each.anchor] * text_width(each.text)
            draw_text(pen, (each.x - before, each.y - LINE_HEIGHT / 2), each.text, each.colour)
        stream = io.BytesIO()
        image.save(stream, "PNG")
        return stream.getvalue()


def scatter_figure(rows: Sequence[Sequence[Panel]]) -> ScatterFigure:
    """Return the drawing of rows of panels, with a legend of all names under them."""
    names = list(dict.fromkeys(point.name for row in rows for panel in row for point in panel.points))
    lines: list[_Line] = []
    dots: list[_Dot] = []
    words: list[_Words] = []
    for down, row in enumerate(rows):
        for across, panel in enumerate(row):
            drawn = _panel(panel, names, across * _WIDTH, down * _HEIGHT)
            lines += drawn.lines
            dots += drawn.dots
            words += drawn.words
    base = len(rows) * _HEIGHT + LINE_HEIGHT
    for index, name in enumerate(names):
        y = base + index * LINE_HEIGHT
        dots.append(_Dot(_LEFT, y, _colour(index)))
        words.append(_Words(_LEFT + 12, y, f"{index + 1}  {name}", _TEXT))
    width = max(map(len, rows)) * _WIDTH
    height = base + len(names) * LINE_HEIGHT
    return ScatterFigure(width, height, tuple(lines), tuple(dots), tuple(words))


def _colour(index: int) -> str:
    return _COLOURS[index % len(_COLOURS)]


def _is_shown(value: float) -> bool:
    return math.isfinite(value) and value > 0


def _panel(panel: Panel, names: Sequence[str], left: float, top: float) -> ScatterFigure:
    """Return the shapes of a panel whose upper left corner is given."""
    points = [point for point in panel.points if _is_shown(point.x) and _is_shown(point.y)]
    if not points:
        empty = _Words(left + _LEFT, top + _HEIGHT / 2, f"{panel.y_title}: no figures", _SOFT)
        return ScatterFigure(_WIDTH, _HEIGHT, (), (), (empty,))
    levels = [(name, level) for name, level in panel.levels if _is_shown(level)]
    heights = [*(point.y for point in points), *(level for _, level in levels)]
    across = [point.x for point in points]
    first, last, base = left + _LEFT, left + _WIDTH - _RIGHT, top + _HEIGHT - _BOTTOM
    x = LogScale(min(across) / _ROOM, max(across) * _ROOM, first, last)
    y = LogScale(min(heights) / _ROOM, max(heights) * _ROOM, base, top + _TOP)
    lines = [_Line((first, y(value), last, y(value)), _GRID) for value in y.ticks()]
    lines.append(_Line((first, base, last, base), _SOFT))
    words = [_Words(first - 6, y(value), number(value), _SOFT, "end") for value in y.ticks()]
    words += [_Words(x(value), base + 12, number(value), _SOFT, "middle") for value in x.ticks()]
    words.append(_Words((first + last) / 2, base + 30, panel.x_title, _SOFT, "middle"))
    words.append(_Words(left + 8, top + 12, panel.y_title, _TEXT))
    for name, level in levels:
        dashes = range(math.floor(first), math.floor(last), 10)
        lines += [_Line((dash, y(level), dash + 5, y(level)), _SOFT) for dash in dashes]
        words.append(_Words(last, y(level) - 8, name, _SOFT, "end"))
    dots = []
    for point in points:
        index = names.index(point.name)
        dots.append(_Dot(x(point.x), y(point.y), _colour(index)))
        words.append(_Words(x(point.x) + 8, y(point.y) - 8, str(index + 1), _TEXT))
    return ScatterFigure(_WIDTH, _HEIGHT, tuple(lines), tuple(dots), tuple(words))
