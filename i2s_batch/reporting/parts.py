"""Defines what a kind of run adds to its report: images and reconstructions, edits, results of a study."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Picture:
    """Holds one image as a page shows it.

    Attributes:
        what: What it shows, such as "original".
        small: A data URL, a file URL, or a URL relative to OUT; '' for an image that is missing.
        whole: The URL, relative to OUT, of the image in full size or of an animation; '' where `small` is that.
        missing: The reason why it is missing.
    """

    what: str
    small: str = ""
    whole: str = ""
    missing: str = ""

    @property
    def is_video(self) -> bool:
        """Return whether `whole` is a video, which is no image for a browser."""
        return self.whole.endswith(".mp4")


@dataclass(frozen=True)
class ShownImage:
    """Holds a row, or an edit, as its images beside each other.

    Attributes:
        notes: Sentences below the caption: an error, copies of the image.
    """

    name: str
    caption: str
    pictures: Sequence[Picture]
    notes: Sequence[str] = ()


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
        groups: Titles, and images beside their reconstructions.
        strips: Edits, before and after.
        study: The results of a study.
        metrics: True if metrics and loss curves of all rows together mean something.
        every: Every image of the run, for the pages under report/; nothing where the page itself shows all.
        animations: Every animation of the run, for pages of their own.
        note: What the pages do not show, and the command that changes it.
    """

    groups: Sequence[tuple[str, Sequence[ShownImage]]] = ()
    strips: Sequence[ShownImage] = ()
    study: ShownStudy | None = None
    metrics: bool = True
    every: Iterable[ShownImage] = ()
    animations: Iterable[ShownImage] = ()
    note: str = ""
