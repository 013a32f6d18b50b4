"""Defines the results of runs, studies and merges: small values that open their table when it is first asked for."""

from __future__ import annotations

import html
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import TypeVar

from i2s_batch.errors import StorageError
from i2s_batch.output.layout import RunLayout
from i2s_batch.plurals import counted
from i2s_batch.reporting.inlined import inlined
from i2s_batch.reporting.parts import ResultTable
from i2s_batch.run.execution import Outcome
from i2s_batch.schema.columns import NOT_COUNTED, NOT_FAILED
from i2s_batch.storage import open_store
from i2s_batch.studies.report_part import StudyOutcome, study_outcome
from i2s_batch.table.lazy_table import OpenTable, open_table
from i2s_batch.table.shards import recorded_settings

R = TypeVar("R", bound="RunResult")

_CELL = "padding: 0 1em 0 0; text-align: left"
_LARGEST_SHOWN = 4 << 20  # bytes of a contact sheet inside a notebook


@dataclass(frozen=True, kw_only=True, repr=False)
class TableResult:
    """Holds what is known of a table that was written.

    Attributes:
        out: The path or URL of the output.
        images: Rows of the table.
        statuses: Rows by status; those that are not "ok" have no latent.
    """

    out: str
    images: int
    statuses: Mapping[str, int]

    @cached_property
    def table(self) -> OpenTable:
        """Return the latent table, opened when it is first asked for."""
        return open_table(self.out)

    @property
    def failed(self) -> int:
        """Return the number of rows that failed: not "ok", and of an image with something to embed."""
        return sum(n for status, n in self.statuses.items() if status not in NOT_FAILED)

    def counted(self, what: str, plural: str | None = None) -> str:
        """Return how many rows there are of each status, in a few words: '8 images: 7 ok, 1 unreadable'.

        `what` is what one of them is called; `plural` several, where that does not end in s.
        """
        counts = ", ".join(f"{n} {status}" for status, n in self.statuses.items())
        return f"{counted(self.images, what, plural)}: {counts}"

    def __repr__(self) -> str:
        return f"{type(self).__name__}({', '.join(f'{name}={value}' for name, value in self._facts())})"

    def _repr_html_(self) -> str:
        rows = "".join(
            f'<tr><th style="{_CELL}">{html.escape(name)}</th><td style="{_CELL}">{html.escape(value)}</td></tr>'
            for name, value in self._facts()
        )
        return f"<table>{rows}</table>"

    def _facts(self) -> Iterator[tuple[str, str]]:
        """Yield what is shown of the result, by name."""
        yield "out", repr(self.out)
        yield "images", str(self.images)
        yield "statuses", repr(dict(self.statuses))


@dataclass(frozen=True, kw_only=True, repr=False)
class MergeResult(TableResult):
    """Holds what merge() wrote.

    Attributes:
        merged: The outputs that the table was made of.
    """

    merged: tuple[str, ...]


@dataclass(frozen=True, kw_only=True, repr=False)
class RunResult(TableResult):
    """Holds what a run came to.

    Attributes:
        seconds: The time of this call, without the report; little for a run that was done already.
        max_failed_fraction: The fraction of images that was allowed to fail.
        report: The path or URL of the page that shows the run; None where it could not be written.
    """

    seconds: float
    max_failed_fraction: float
    report: str | None

    @classmethod
    def of(cls: type[R], out: str, outcome: Outcome, report: str | None, **own: str | None) -> R:
        """Return the result of the run at `out`; `own`: the fields that only this kind of run has."""
        summary = outcome.summary
        return cls(
            out=out,
            images=summary.images,
            statuses=summary.statuses,
            seconds=summary.this_session.seconds,
            max_failed_fraction=outcome.config.max_failed_fraction,
            report=report,
            **own,
        )

    @property
    def acceptable(self) -> bool:
        """Return whether no more images failed than `max_failed_fraction` allows."""
        images = self.images - sum(self.statuses.get(status, 0) for status in NOT_COUNTED)
        return self.failed <= self.max_failed_fraction * images

    def _facts(self) -> Iterator[tuple[str, str]]:
        yield from super()._facts()
        yield "seconds", f"{self.seconds:.1f}"
        if self.report is None:  # otherwise it is where it always is
            yield "report", "None"


@dataclass(frozen=True, kw_only=True, repr=False)
class EmbedResult(RunResult):
    """Holds what embed() came to."""


@dataclass(frozen=True, kw_only=True, repr=False)
class EditResult(RunResult):
    """Holds what edit() came to.

    Attributes:
        contact_sheet: The path or URL of a PNG with some of the edits, before and after; None where it could not be
            drawn.
        animations: The folder of the animations, as a path or URL; None if none were asked for.
        side_by_side: The folder of the images beside their photographs, likewise.
        unaligned: The folder of the photographs with the faces in them, likewise.
    """

    contact_sheet: str | None
    animations: str | None
    side_by_side: str | None
    unaligned: str | None = None

    def _repr_html_(self) -> str:
        shown = super()._repr_html_()
        try:
            sheet = b"" if self.contact_sheet is None else open_store(self.out).get(RunLayout.contact_sheet)
        except StorageError:  # it was removed since
            sheet = b""
        return shown + (f'<img src="{inlined("png", sheet)}">' if 0 < len(sheet) <= _LARGEST_SHOWN else "")


@dataclass(frozen=True, kw_only=True, repr=False)
class StudyResult(RunResult):
    """Holds what study() came to. What it found is computed from its table when it is first asked for.

    Attributes:
        study: The name of the study.
    """

    study: str

    @property
    def question(self) -> str:
        """Return the question that the study answers."""
        return self._outcome.question

    @property
    def findings(self) -> tuple[str, ...]:
        """Return the findings: sentences with their numbers."""
        return tuple(self._outcome.findings)

    @property
    def comparison(self) -> ResultTable:
        """Return the study's own table, as texts: a line per variant, and per class where there are several."""
        return self._outcome.table

    @cached_property
    def _outcome(self) -> StudyOutcome:
        schema = self.table.files.schema
        return study_outcome(self.out, recorded_settings(schema, self.out).run)

    def _facts(self) -> Iterator[tuple[str, str]]:
        yield "study", repr(self.study)
        yield from super()._facts()

    def _repr_html_(self) -> str:
        table, found = self.comparison, "".join(f"<li>{html.escape(each)}</li>" for each in self.findings)
        lines = ["th", table.headers], *(("td", row) for row in table.rows)
        rows = "".join(
            f"<tr>{''.join(f'<{kind}>{html.escape(cell)}</{kind}>' for cell in line)}</tr>" for kind, line in lines
        )
        return f"<p>{html.escape(self.question)}</p><ul>{found}</ul><table>{rows}</table>"
