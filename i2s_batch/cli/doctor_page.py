"""Lays out what the doctor found as a page of text, for a terminal of any width."""

from __future__ import annotations

import shutil
import textwrap
from collections.abc import Iterator, Sequence

from i2s_batch.diagnosis.findings import FAIL, OK, WARN, Finding, Section
from i2s_batch.diagnosis.node_report import NodeReport
from i2s_batch.plurals import counted
from i2s_batch.run.terminal import printable

_STATES = {OK: "ok  ", WARN: "warn", FAIL: "FAIL"}
_NAME = 15  # columns of the names
_LEAST, _MOST = 60, 120  # columns of a page


def columns() -> int:
    """Return how wide a page is: as the terminal, within limits."""
    return max(_LEAST, min(_MOST, shutil.get_terminal_size().columns))


def section_lines(section: Section, width: int) -> Iterator[str]:
    """Yield the lines of a group of findings, under its heading."""
    yield section.title
    for finding in section.findings:
        yield from finding_lines(finding, width)
    yield ""


def finding_lines(finding: Finding, width: int, indent: str = "  ") -> Iterator[str]:
    """Yield the lines of a finding: its state and name, what was found, and below that what to do."""
    head = f"{indent}{_STATES[finding.state]}  {finding.name:{_NAME}} "
    below = " " * len(head)
    yield from _wrapped(finding.found, head, below, width)
    if finding.advice:
        yield from _wrapped(f"-> {finding.advice}", below, below + "   ", width)


def node_lines(report: NodeReport, width: int) -> Iterator[str]:
    """Yield the line of a node, and below it what is wrong there."""
    head = f"  {_STATES[report.state]}  "
    yield from _wrapped(f"{report.host} ({report.address}): {report.summary}", head, " " * len(head), width)
    for finding in report.wrong:
        yield from finding_lines(finding, width, indent=" " * len(head))


def last_line(findings: Sequence[Finding]) -> str:
    """Return the line that sums up."""
    faults, warnings = (sum(each.state == state for each in findings) for state in (FAIL, WARN))
    if not faults:
        return f"A run would work; {counted(warnings, 'warning')}." if warnings else "Nothing is wrong."
    return f"A run would fail: {counted(faults, 'fault')}, {counted(warnings, 'warning')}."


def _wrapped(text: str, first: str, below: str, width: int) -> list[str]:
    lines = textwrap.wrap(
        printable(" ".join(text.split())),
        width,
        initial_indent=first,
        subsequent_indent=below,
        break_long_words=False,
        break_on_hyphens=False,
    )
    return lines or [first.rstrip()]
