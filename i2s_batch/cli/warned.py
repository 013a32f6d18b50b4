"""Prints what a table lacks that a command reads: one line on standard error in place of Python's warning."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TextIO

from i2s_batch.cli.run_command import log_line
from i2s_batch.errors import DamagedRowsWarning, UnfinishedRunWarning
from i2s_batch.run.terminal import printable


@contextmanager
def warnings_as_lines() -> Iterator[None]:
    """Carry out a command that may read a table in progress: what is said of it comes once, however often it is read.

    Warnings of other kinds are shown as before.
    """
    before = warnings.showwarning
    printed: set[object] = set()

    def show(
        message: Warning | str,
        category: type[Warning],
        filename: str,
        lineno: int,
        file: TextIO | None = None,
        line: str | None = None,
    ) -> None:
        if not issubclass(category, (UnfinishedRunWarning, DamagedRowsWarning)):
            before(message, category, filename, lineno, file, line)
            return
        what = message.args[0] if isinstance(message, Warning) else message
        once = (category, getattr(what, "url", what))  # the counts of a table change while it is read
        if once not in printed:
            printed.add(once)
            log_line(f"i2s-batch: {printable(str(message))}")

    with warnings.catch_warnings():
        for category in (UnfinishedRunWarning, DamagedRowsWarning):
            warnings.simplefilter("always", category)
        warnings.showwarning = show
        yield
