"""Panels of named points, as SVG and as PNG."""

from __future__ import annotations

import io
import math
import xml.etree.ElementTree as ET

import numpy as np
from PIL import Image

from i2s_batch.reporting.scatter import Panel, Point, scatter_figure

POINTS = (Point("first & best", 10, 1), Point("second", 1000, 4), Point("third", 100, 2), Point("none", math.nan, 1))
FIGURE = scatter_figure(
    [[Panel("loss", "steps", POINTS, (("no edit", 2.0), ("nothing", 0.0)))], [Panel("empty", "s", ())]]
)


def test_points_lie_where_their_logarithms_do_and_names_are_escaped() -> None:
    root = ET.fromstring(FIGURE.svg())
    circles = [child for child in root if child.tag.endswith("circle")]
    (x1, y1), (x2, y2), (x3, y3), *legend = [(float(each.get("cx")), float(each.get("cy"))) for each in circles]
    assert math.isclose(x3, (x1 + x2) / 2, abs_tol=0.1) and math.isclose(y3, (y1 + y2) / 2, abs_tol=0.1)
    assert x1 < x3 < x2 and y2 < y3 < y1 and len(legend) == 4  # a point without a figure is in the legend alone
    words = [child.text for child in root if child.tag.endswith("text")]
    assert {"1  first & best", "2  second", "4  none", "no edit", "empty: no figures", "loss", "steps"} <= set(words)
    assert "nothing" not in words
    dashes = [child for child in root if child.tag.endswith("line") and child.get("y1") == f"{y3:.1f}"]
    assert len(dashes) > 10


def test_the_png_shows_the_same_points() -> None:
    pixels = np.asarray(Image.open(io.BytesIO(FIGURE.png())))
    assert pixels.shape == (round(FIGURE.height), round(FIGURE.width), 3)
    for dot in FIGURE.dots:
        assert "#" + bytes(pixels[round(dot.y), round(dot.x)]).hex() == dot.colour
    assert (pixels[0, 0] == 255).all()
