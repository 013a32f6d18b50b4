"""Writes for people on a terminal: one live line below the messages, durations, and texts that are safe to show."""

from __future__ import annotations

import os
from abc import ABC, abstractmethod
from collections.abc import Callable
from contextlib import suppress
from typing import TextIO

_RETURN, _CLEAR_TO_END = "\r", "\x1b[K"
_FALLBACK_COLUMNS = 80  # for terminals that do not know their width


def is_terminal(stream: TextIO) -> bool:
    """Return whether a line on `stream` can be redrawn in place."""
    return stream.isatty() and os.environ.get("TERM", "dumb") != "dumb"


class LiveReporter(ABC):
    """Shows how far a run is in one place, which is redrawn; what it is called with, a line of text, stays."""

    @abstractmethod
    def __call__(self, line: str) -> None:
        """Show a line that stays."""

    @abstractmethod
    def show(self, text: str, fraction: float | None = None) -> None:
        """Redraw how far the run is: `text`, and the fraction that is done (0 to 1) where it is known."""

    def stage(self, text: str) -> None:
        """Redraw what is done before there is anything to count."""
        self.show(text)

    @abstractmethod
    def end(self) -> None:
        """Leave what was drawn last as it stands. May be called again."""


def show_stage(report: Callable[[str], None], text: str) -> None:
    """Show what a run does before its first image, where it can be redrawn; a log gets no line of it."""
    if isinstance(report, LiveReporter):
        report.stage(text)


class LiveLine(LiveReporter):
    """Writes to a terminal: called with a line, it prints it for good; `show` redraws the one line below all others.

    A terminal that has closed must not end a run of days: what cannot be written is dropped.
    """

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream
        self._text = ""
        self._is_stage = False

    def __call__(self, line: str) -> None:
        """Print a line that stays: it scrolls away above the live one."""
        self._write(f"{_RETURN}{_CLEAR_TO_END}{line}\n")
        if self._text:
            self._draw()

    def show(self, text: str, fraction: float | None = None) -> None:
        """Redraw the live line."""
        self._text, self._is_stage = text, False
        self._draw()

    def stage(self, text: str) -> None:
        """Redraw the live line with what `end` wipes away: it is of no use once it is over."""
        self.show(text)
        self._is_stage = True

    def end(self) -> None:
        """Leave the live line as it stands; what follows begins on a line of its own."""
        if self._text:
            self._text = ""
            self._write(f"{_RETURN}{_CLEAR_TO_END}" if self._is_stage else "\n")

    def _draw(self) -> None:
        self._write(f"{_RETURN}{cut(self._text, self._columns() - 1)}{_CLEAR_TO_END}")

    def _columns(self) -> int:
        try:
            return os.get_terminal_size(self._stream.fileno()).columns or _FALLBACK_COLUMNS
        except OSError:
            return _FALLBACK_COLUMNS

    def _write(self, text: str) -> None:
        with suppress(OSError):
            self._stream.write(text)
            self._stream.flush()


def cut(text: str, columns: int) -> str:
    """Return `text` in at most `columns` characters.

    Parts between commas are left out from the end, never halved, as long as one of them fits.
    """
    if len(text) <= columns:
        return text
    whole = text[: columns + 1].rpartition(", ")[0]
    return whole or text[:columns]


def duration(seconds: float) -> str:
    """Return a time span in the unit that suits it: '12 s', '31 min', '7.5 h', '3.2 days'."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    if seconds < 5400:
        return f"{seconds / 60:.0f} min"
    return f"{seconds / 3600:.1f} h" if seconds < 48 * 3600 else f"{seconds / 86400:.1f} days"


def printable(text: str) -> str:
    """Return `text` without characters that would move the cursor or recolour the screen: file names may hold any."""
    return "".join(
        character if character.isprintable() else character.encode("unicode_escape").decode() for character in text
    )
