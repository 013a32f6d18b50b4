"""Writes the pages beside report.html: every image of the run, and every animation, some on each page.

A page is some 60 kB whatever the size of the images, which are in files; one page is in memory at a time.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import islice

from i2s_batch.output.layout import RunLayout
from i2s_batch.reporting.files import ReportFiles
from i2s_batch.reporting.parts import ShownImage
from i2s_batch.reporting.templates import template

IMAGES_ON_PAGE = 120


@dataclass(frozen=True)
class PageEntry:
    """Holds what the index shows of a page: its file beside the index, and its first and last image."""

    file: str
    first: str
    last: str
    images: int


def write_pages(files: ReportFiles, heading: str, what: str, shown: Iterable[ShownImage]) -> list[PageEntry]:
    """Write pages under report/ that show images in their order, and return what the index says of them.

    Args:
        files: Where they are written.
        heading: What the report is of.
        what: images or animations.
        shown: What they show, made as it is needed.
    """
    entries: list[PageEntry] = []
    page = template("images")
    for number, images, is_last in _numbered(shown):
        key = RunLayout.report_page(what, number)
        neighbours = [_file(RunLayout.report_page(what, other)) for other in (number - 1, number + 1)]
        html = page.render(
            heading=heading,
            what=what,
            number=number,
            images=images,
            before=neighbours[0] if number > 1 else "",
            after="" if is_last else neighbours[1],
            has_difference=any(picture.what == "difference" for image in images for picture in image.pictures),
        )
        files.add(key, html.encode())
        entries.append(PageEntry(_file(key), images[0].name, images[-1].name, len(images)))
    return entries


def write_index(files: ReportFiles, heading: str, pages: dict[str, list[PageEntry]]) -> None:
    """Write report/index.html, which names all pages with their first and last image."""
    files.add(RunLayout.report_index, template("index").render(heading=heading, pages=pages).encode())


def _numbered(shown: Iterable[ShownImage]) -> Iterator[tuple[int, list[ShownImage], bool]]:
    """Yield the number of each page, its images, and whether it is the last."""
    waiting = iter(shown)
    images, number = list(islice(waiting, IMAGES_ON_PAGE)), 1
    while images:
        following = list(islice(waiting, IMAGES_ON_PAGE))
        yield number, images, not following
        images, number = following, number + 1


def _file(key: str) -> str:
    return key.removeprefix(RunLayout.report_prefix)
