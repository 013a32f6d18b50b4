"""Draws the figures of a study: images in the paper's layout, and loss curves, on a transparent ground."""

from __future__ import annotations

import io
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import TypeAlias

import numpy as np
from PIL import Image, ImageDraw

from i2s_batch.images.draw.text import LINE_HEIGHT, draw_text, fitted, text_width
from i2s_batch.reporting.charts import LogScale, number
from i2s_batch.studies.results import Result, mean_curve
from i2s_batch.studies.study import POOLED, Results
from i2s_batch.studies.study_output import StudyOutput

IMAGES_SHOWN = 4
SIDE = 128  # of an image; smaller ones are enlarged without smoothing
_GAP, _LABEL, _HEAD = 4, LINE_HEIGHT + 4, 2 * LINE_HEIGHT + 4


@dataclass(frozen=True)
class Theme:
    """Holds the colours of a figure: of text, less prominent text, lines of a grid, and curves in their order."""

    text: str
    soft: str
    grid: str
    curves: tuple[str, ...]


# The palette of Okabe and Ito, which people who cannot distinguish red from green can read; two greys after it.
_COLOURS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9")
LIGHT = Theme("#1d2129", "#5d6675", "#e1e4ea", (*_COLOURS, "#8a8a8a", "#444444"))
DARK = Theme("#e4e7ec", "#9aa4b3", "#31363f", (*_COLOURS, "#8a8a8a", "#cccccc"))
# For files that stand on any ground: contrast is 4 to 1 on white and on nearly black.
EITHER = Theme("#7d7d7d", "#7d7d7d", "#7d7d7d60", (*_COLOURS, "#8a8a8a", "#a0522d"))

# Draws a figure in the colours of a theme, RGBA.
Drawing: TypeAlias = Callable[[Theme], Image.Image]

_WEBP_QUALITY = 90
_CHART = (900, 480)
_LEFT, _RIGHT, _TOP, _BOTTOM = 80, 250, 24, 50

Column = tuple[str, Sequence[np.ndarray | None]]  # head, and images from top to bottom


def images_figure(results: Results, output: StudyOutput) -> Drawing:
    """Return the drawing of some images in every variant.

    Where variants are of the input, each input stands above its reconstruction; else the one input stands to their
    left.
    """
    study = results.study
    chosen = _chosen(results)
    altered = any(variant.alter is not None for variant in study.variants)
    columns: list[Column] = []
    if not altered:
        columns.append(("input", [_input(output, study.baseline, image) for image in chosen]))
    for variant in study.variants:
        shown: list[np.ndarray | None] = []
        for image in chosen:
            row = output.row(variant.name, image)
            reconstruction = None if row is None else output.reconstruction(row)
            shown += [_input(output, variant.name, image), reconstruction] if altered else [reconstruction]
        columns.append((variant.title, shown))
    return partial(drawn_grid, columns, chosen, 2 if altered else 1)


def _chosen(results: Results) -> list[str]:
    """Return images that have the baseline, as many of each class as possible."""
    of_class = [[one.image for one in results.of(results.study.baseline, label)] for label in results.labels]
    ranked = sorted((turn, label, name) for label, names in enumerate(of_class) for turn, name in enumerate(names))
    return [name for _, _, name in sorted(ranked[:IMAGES_SHOWN], key=lambda item: item[1:])]


def _input(output: StudyOutput, variant: str, image: str) -> np.ndarray | None:
    row = output.row(variant, image)
    return None if row is None else output.input(row)


def drawn_grid(columns: Sequence[Column], labels: Sequence[str], lines_each: int, theme: Theme) -> Image.Image:
    """Draw columns with heads; the label of each group of `lines_each` lines stands below it."""
    group = lines_each * (SIDE + _GAP) + _LABEL
    width = len(columns) * (SIDE + _GAP) + 3 * _GAP
    figure = _transparent((width, _HEAD + len(labels) * group + _GAP), theme)
    pen = ImageDraw.Draw(figure)
    for position, (head, shown) in enumerate(columns):
        x = 2 * _GAP + position * (SIDE + _GAP)
        for line, text in enumerate(_broken(head)):
            draw_text(pen, (x, line * LINE_HEIGHT), text, theme.text, SIDE)
        for line, image in enumerate(shown):
            y = _HEAD + line // lines_each * group + line % lines_each * (SIDE + _GAP)
            if image is None:
                pen.rectangle((x, y, x + SIDE - 1, y + SIDE - 1), fill=theme.grid)
            else:
                how = Image.Resampling.NEAREST if image.shape[0] <= SIDE else Image.Resampling.BOX
                figure.paste(Image.fromarray(image).resize((SIDE, SIDE), how), (x, y))
    for group_number, label in enumerate(labels):
        y = _HEAD + (group_number + 1) * group - _LABEL
        draw_text(pen, (2 * _GAP, y), label, theme.soft, width - 3 * _GAP)
    return figure


def _broken(head: str) -> list[str]:
    """Return the head in two lines where one is too wide."""
    words = head.split()
    if text_width(head) <= SIDE or len(words) < 2:
        return [head]
    fit = max(n for n in range(1, len(words)) if n == 1 or text_width(" ".join(words[:n])) <= SIDE)
    return [" ".join(words[:fit]), " ".join(words[fit:])]


def curves_figure(results: Results) -> Drawing:
    """Return the drawing of the mean loss by step, in the curves that the study asks for. Both axes are logarithmic."""
    lines = [(name, _mean_curve(found)) for name, found in results.study.curves(results)]
    return partial(_chart, [(name, curve) for name, curve in lines if len(curve)])


def _chart(lines: Sequence[tuple[str, np.ndarray]], theme: Theme) -> Image.Image:
    figure = _transparent(_CHART, theme)
    if lines:
        _draw_curves(ImageDraw.Draw(figure), lines, theme)
    return figure


def _mean_curve(results: Sequence[Result]) -> np.ndarray:
    """Return steps and mean losses, [K, 2], those that are positive."""
    if not results:
        return np.empty((0, 2))
    both: np.ndarray = np.stack(mean_curve(results), 1)
    shown: np.ndarray = both[(both > 0).all(1) & np.isfinite(both).all(1)]
    return shown


def _draw_curves(pen: ImageDraw.ImageDraw, lines: Sequence[tuple[str, np.ndarray]], theme: Theme) -> None:
    width, height = _CHART
    points = np.concatenate([curve for _, curve in lines])
    x = LogScale(points[:, 0].min(), points[:, 0].max(), _LEFT, width - _RIGHT)
    y = LogScale(points[:, 1].min(), points[:, 1].max(), height - _BOTTOM, _TOP)
    middle = LINE_HEIGHT / 2
    for value in y.ticks():
        text = number(value)
        pen.line([(_LEFT, y(value)), (width - _RIGHT, y(value))], fill=theme.grid)
        draw_text(pen, (_LEFT - 8 - text_width(text), y(value) - middle), text, theme.soft)
    for value in x.ticks():
        text = number(value)
        pen.line([(x(value), _TOP), (x(value), height - _BOTTOM)], fill=theme.grid)
        draw_text(pen, (x(value) - text_width(text) / 2, height - _BOTTOM + 6), text, theme.soft)
    draw_text(pen, ((_LEFT + width - _RIGHT) / 2, height - LINE_HEIGHT - 4), "step", theme.soft)
    draw_text(pen, (8, 0), "loss", theme.soft)
    colours = iter(theme.curves * (len(lines) // len(theme.curves) + 1))
    for index, (name, curve) in enumerate(lines):
        pooled = name == POOLED  # over the others, in the colour of the text
        colour, thick = (theme.text, 3) if pooled else (next(colours), 2)
        pen.line([(x(step), y(loss)) for step, loss in curve.tolist()], fill=colour, width=thick, joint="curve")
        row = _TOP + 10 + index * 22
        pen.line([(width - _RIGHT + 16, row), (width - _RIGHT + 40, row)], fill=colour, width=thick + 1)
        draw_text(pen, (width - _RIGHT + 48, row - middle), fitted(name, _RIGHT - 52), theme.text)


def _transparent(size: tuple[int, int], theme: Theme) -> Image.Image:
    """Return an empty figure; what text fades into has the colour of text, so that it has no dark edge."""
    ground: Image.Image = Image.new("RGB", size, theme.text[:7])
    ground.putalpha(0)
    return ground


def encoded(figure: Image.Image, file_type: str) -> bytes:
    """Return a figure as a file: png, or webp, which is smaller and loses what nobody sees."""
    stream = io.BytesIO()
    figure.save(stream, file_type, **({"quality": _WEBP_QUALITY} if file_type == "webp" else {}))
    return stream.getvalue()
