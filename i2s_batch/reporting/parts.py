"""What a kind of run adds to its report: images and reconstructions, strips of edits, the results of a study."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class ShownImage:
    """An image beside its reconstruction. `pictures`: data urls of the original, the reconstruction and their
    difference; None for what there is not. `missing`: why there is no original."""

    image_id: str
    caption: str
    missing: str
    distance: str
    pictures: Sequence[str | None]


@dataclass(frozen=True)
class ShownStrip:
    """An edit as one picture, before and after. `picture`: a data url."""

    name: str
    caption: str
    alt: str
    picture: str


@dataclass(frozen=True)
class ResultTable:
    """A table of texts. The first `words` columns are names, the others figures."""

    headers: list[str]
    rows: list[list[str]]
    words: int

    def markdown(self) -> str:
        """Return it as Markdown."""
        rule = ["---"] * self.words + ["---:"] * (len(self.headers) - self.words)
        lines = [self.headers, rule, *([cell.replace("|", "\\|") for cell in row] for row in self.rows)]
        return "\n".join(f"| {' | '.join(line)} |" for line in lines)


@dataclass(frozen=True)
class ShownStudy:
    """The results of a study. `figures`: data urls by title."""

    name: str
    question: str
    findings: Sequence[str]
    table: ResultTable
    note: str
    figures: dict[str, str]


@dataclass(frozen=True)
class PageParts:
    """What a kind of run adds.

    Attributes:
        command: The words after `i2s-batch` that begin such a run, such as "study init".
        groups: Titles, and images beside their reconstructions.
        strips: Edits.
        study: The results of a study.
        metrics: Whether metrics and loss curves of all rows together say something.
    """

    command: str
    groups: Sequence[tuple[str, Sequence[ShownImage]]] = ()
    strips: Sequence[ShownStrip] = ()
    study: ShownStudy | None = None
    metrics: bool = True
