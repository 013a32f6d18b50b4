"""Writes report.html, one file that shows a run, complete by itself and without scripts; all images are beside it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime

import numpy as np

from i2s_batch.config import Json
from i2s_batch.output.layout import RunLayout
from i2s_batch.output.same_run import flattened
from i2s_batch.reporting.commands import next_commands
from i2s_batch.reporting.facts import Facts, titles
from i2s_batch.reporting.files import ReportFiles
from i2s_batch.reporting.pages import PageEntry, write_index, write_pages
from i2s_batch.reporting.parts import PageParts
from i2s_batch.reporting.templates import template
from i2s_batch.schema.columns import NOT_COUNTED


def write_page(
    files: ReportFiles, facts: Facts, parts: PageParts, why_none: str = "", command: str | None = None
) -> str:
    """Write OUT/report.html, and the pages that it needs beside it; return its path or URL.

    Args:
        files: Writes to the output.
        facts: The figures of its table.
        parts: What its kind of run adds.
        why_none: The reason why there are no reconstructions.
        command: The command that resumes the run, where it is known.
    """
    store = files.store
    heading = _heading(facts)
    pages = _write_pages(files, heading, parts)
    settings = {name: value for name, value in facts.settings.run.values.items() if name not in ("generator", "vgg")}
    html = template("page").render(
        heading=heading,
        facts=facts,
        not_counted=NOT_COUNTED,
        parts=parts,
        pages=pages,
        folder=RunLayout.report_prefix,
        out=store.url,
        written=datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC"),
        why_none=why_none,
        summaries=list(_summaries(facts)) if parts.metrics else [],
        settings=sorted((name, _shown(value)) for name, value in flattened(settings)),
        commands=next_commands(store.url, facts, command),
    )
    files.finish(html.encode())
    return store.uri(RunLayout.report)


def _write_pages(files: ReportFiles, heading: str, parts: PageParts) -> dict[str, list[PageEntry]]:
    """Write the pages of all images and of all animations; return those there are, by what they show."""
    shown = (("images", parts.every), ("animations", parts.animations))
    pages = {what: write_pages(files, heading, what, images) for what, images in shown}
    if any(pages.values()):
        write_index(files, heading, pages)
    return pages


def _heading(facts: Facts) -> str:
    """Return what the report is of: the name of the source, the images, and the kind of run."""
    images = "1 image" if facts.rows == 1 else f"{facts.rows} images"
    kind = facts.settings.run.operation if facts.is_edit else facts.settings.run.study
    what = f"{images} by {kind}" if facts.is_edit else f"{images} of the study {kind}" if kind else f"{images} in W+"
    return f"{facts.source_name}: {what}" if facts.source_name else what


def _shown(value: Json) -> str:
    return ", ".join(map(str, value)) if isinstance(value, list) else str(value)


@dataclass(frozen=True)
class _Summary:
    """Holds a metric that some image has: its title, what it means, its quantiles and its values."""

    name: str
    meaning: str
    values: np.ndarray
    quantiles: list[float]


def _summaries(facts: Facts) -> Iterator[_Summary]:
    """Yield every metric that any image has."""
    for name, (title, meaning) in titles().items():
        values = facts.metrics[name]
        if len(values):
            # of the ordered values themselves: an interpolation would turn an infinite PSNR into no number
            quantiles = np.quantile(values, (0.05, 0.5, 0.95), method="nearest").tolist()
            yield _Summary(title, meaning, values, quantiles)
