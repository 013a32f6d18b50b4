"""Defines what a kind of run adds to its report: images and reconstructions, strips of edits, results of a study."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class ShownImage:
    """Holds an image beside its reconstruction.

    Attributes:
        missing: The reason why there is no original.
        pictures: Data URLs of the original, the reconstruction and their difference; None for one that is missing.
    """

    image_id: str
    caption: str
    missing: str
    distance: str
    pictures: Sequence[str | None]


@dataclass(frozen=True)
class ShownStrip:
    """Holds an edit as one picture, before and after; `picture`: a data URL."""

    name: str
    caption: str
    alt: str
    picture: str


@dataclass(frozen=True)
class ResultTable:
    """Holds a table of texts. The first `words` columns are names, the others figures."""

    headers: list[str]
    rows: list[list[str]]
    words: int

    def markdown(self) -> str:
        """Return it as Markdown."""
        rule = ["---"] * self.words + ["---:"] * (len(self.headers) - self.words)
        lines = [self.headers, rule, *([cell.replace("|", "\\|") for cell in row] for row in self.rows)]
        return "\n".join(f"| {' | '.join(line)} |" for line in lines)


@dataclass(frozen=True)
class ShownFigure:
    """Holds a figure as data URLs, on a transparent ground: one for light pages, one for dark pages."""

    title: str
    light: str
    dark: str


@dataclass(frozen=True)
class ShownStudy:
    """Holds the results of a study."""

    name: str
    question: str
    findings: Sequence[str]
    table: ResultTable
    note: str
    figures: Sequence[ShownFigure]


@dataclass(frozen=True)
class PageParts:
    """Holds what a kind of run adds.

    Attributes:
        command: The words after `i2s-batch` that begin such a run, such as "study init".
        groups: Titles, and images beside their reconstructions.
        strips: Edits.
        study: The results of a study.
        metrics: True if metrics and loss curves of all rows together mean something.
    """

    command: str
    groups: Sequence[tuple[str, Sequence[ShownImage]]] = ()
    strips: Sequence[ShownStrip] = ()
    study: ShownStudy | None = None
    metrics: bool = True
