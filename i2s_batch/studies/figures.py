"""Draws the figures of a study as PNG: images in the paper's layout, and loss curves."""

from __future__ import annotations

import io
from collections.abc import Sequence

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from i2s_batch.reporting.charts import LogScale, number
from i2s_batch.studies.results import Result, mean_curve
from i2s_batch.studies.study import Results
from i2s_batch.studies.study_output import StudyOutput

IMAGES_SHOWN = 4
SIDE = 128  # of an image; smaller ones are enlarged without smoothing
_GAP, _LABEL, _HEAD = 4, 22, 40
_TEXT, _SOFT, _GRID = "#1d2129", "#5d6675", "#e1e4ea"
# The palette of Okabe and Ito, which people who cannot distinguish red from green can read.
_COLOURS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#000000", "#8a8a8a")

_CHART = (900, 480)
_LEFT, _RIGHT, _TOP, _BOTTOM = 80, 250, 24, 50

Column = tuple[str, Sequence[np.ndarray | None]]  # head, and images from top to bottom


def images_figure(results: Results, output: StudyOutput) -> bytes:
    """Draw some images in every variant.

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
    return _grid(columns, chosen, 2 if altered else 1)


def _chosen(results: Results) -> list[str]:
    """Return images that have the baseline, as many of each class as possible."""
    of_class = [[one.image for one in results.of(results.study.baseline, label)] for label in results.labels]
    ranked = sorted((turn, label, name) for label, names in enumerate(of_class) for turn, name in enumerate(names))
    return [name for _, _, name in sorted(ranked[:IMAGES_SHOWN], key=lambda item: item[1:])]


def _input(output: StudyOutput, variant: str, image: str) -> np.ndarray | None:
    row = output.row(variant, image)
    return None if row is None else output.input(row)


def _grid(columns: Sequence[Column], labels: Sequence[str], lines_each: int) -> bytes:
    """Draw columns with heads; the label of each group of `lines_each` lines stands below it."""
    group = lines_each * (SIDE + _GAP) + _LABEL
    width = len(columns) * (SIDE + _GAP) + 3 * _GAP
    figure = Image.new("RGB", (width, _HEAD + len(labels) * group + _GAP), "white")
    pen, font = ImageDraw.Draw(figure), ImageFont.load_default(13)
    for position, (head, shown) in enumerate(columns):
        x = 2 * _GAP + position * (SIDE + _GAP)
        pen.multiline_text((x, _GAP), _broken(head, pen, font), fill=_TEXT, font=font, spacing=2)
        for line, image in enumerate(shown):
            y = _HEAD + line // lines_each * group + line % lines_each * (SIDE + _GAP)
            if image is None:
                pen.rectangle((x, y, x + SIDE - 1, y + SIDE - 1), fill=_GRID)
            else:
                how = Image.Resampling.NEAREST if image.shape[0] <= SIDE else Image.Resampling.BOX
                figure.paste(Image.fromarray(image).resize((SIDE, SIDE), how), (x, y))
    for group_number, label in enumerate(labels):
        pen.text((2 * _GAP, _HEAD + (group_number + 1) * group - _LABEL), label, fill=_SOFT, font=font)
    return _png(figure)


def _broken(head: str, pen: ImageDraw.ImageDraw, font: ImageFont.FreeTypeFont | ImageFont.ImageFont) -> str:
    """Return the head in two lines where one is too wide."""
    words = head.split()
    if pen.textlength(head, font) <= SIDE or len(words) < 2:
        return head
    fit = max(n for n in range(1, len(words)) if n == 1 or pen.textlength(" ".join(words[:n]), font) <= SIDE)
    return f"{' '.join(words[:fit])}\n{' '.join(words[fit:])}"


def curves_figure(results: Results) -> bytes:
    """Draw the mean loss by step, in the curves that the study asks for. Both axes are logarithmic."""
    lines = [(name, _mean_curve(found)) for name, found in results.study.curves(results)]
    lines = [(name, curve) for name, curve in lines if len(curve)]
    figure = Image.new("RGB", _CHART, "white")
    if lines:
        _draw_curves(ImageDraw.Draw(figure), lines)
    return _png(figure)


def _mean_curve(results: Sequence[Result]) -> np.ndarray:
    """Return steps and mean losses, [K, 2], those that are positive."""
    if not results:
        return np.empty((0, 2))
    both: np.ndarray = np.stack(mean_curve(results), 1)
    shown: np.ndarray = both[(both > 0).all(1) & np.isfinite(both).all(1)]
    return shown


def _draw_curves(pen: ImageDraw.ImageDraw, lines: Sequence[tuple[str, np.ndarray]]) -> None:
    width, height = _CHART
    points = np.concatenate([curve for _, curve in lines])
    x = LogScale(points[:, 0].min(), points[:, 0].max(), _LEFT, width - _RIGHT)
    y = LogScale(points[:, 1].min(), points[:, 1].max(), height - _BOTTOM, _TOP)
    font = ImageFont.load_default(14)
    for value in y.ticks():
        pen.line([(_LEFT, y(value)), (width - _RIGHT, y(value))], fill=_GRID)
        pen.text((_LEFT - 8, y(value)), number(value), fill=_SOFT, font=font, anchor="rm")
    for value in x.ticks():
        pen.line([(x(value), _TOP), (x(value), height - _BOTTOM)], fill=_GRID)
        pen.text((x(value), height - _BOTTOM + 8), number(value), fill=_SOFT, font=font, anchor="ma")
    pen.text(((_LEFT + width - _RIGHT) / 2, height - 6), "step", fill=_SOFT, font=font, anchor="md")
    pen.text((8, 4), "loss", fill=_SOFT, font=font)
    for index, (name, curve) in enumerate(lines):
        colour = _COLOURS[index % len(_COLOURS)]
        pen.line([(x(step), y(loss)) for step, loss in curve.tolist()], fill=colour, width=2, joint="curve")
        row = _TOP + 10 + index * 22
        pen.line([(width - _RIGHT + 16, row), (width - _RIGHT + 40, row)], fill=colour, width=3)
        pen.text((width - _RIGHT + 48, row), name, fill=_TEXT, font=font, anchor="lm")


def _png(figure: Image.Image) -> bytes:
    stream = io.BytesIO()
    figure.save(stream, "PNG")
    return stream.getvalue()
