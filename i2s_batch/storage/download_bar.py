"""Shows how far a download is: a bar on a terminal, redrawn in place; one line in a log.

It is written to standard error. A reader of it that has gone away does not end the download.
"""

from __future__ import annotations

import os
import sys
import time
from contextlib import suppress
from types import TracebackType

_EVERY_S = 0.2
_WIDTH = 24  # of the bar, in characters
_RETURN, _CLEAR_TO_END = "\r", "\x1b[K"


class DownloadBar:
    """Shows a download from the first byte that comes; it is called with the bytes that have come, and all of them.

    Args:
        url: What is fetched, as it may be shown.
    """

    def __init__(self, url: str) -> None:
        self._name = url.rpartition("/")[2] or url
        self._url = url
        self._shown_at: float | None = None
        self._began = time.monotonic()
        self._first = 0

    def __enter__(self) -> DownloadBar:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._shown_at is not None and self._is_live():
            self._write(f"{_RETURN}{_CLEAR_TO_END}")

    def __call__(self, received: int, whole: int | None) -> None:
        """Show how many bytes have come, of how many, if that is known."""
        now = time.monotonic()
        if self._shown_at is None:
            self._began, self._first = now, received
            if not self._is_live():
                self._shown_at = now
                self._write(f"fetching {self._url}{'' if whole is None else f' ({megabytes(whole)})'}\n")
                return
        elif now - self._shown_at < _EVERY_S:
            return
        if self._is_live():
            self._shown_at = now
            self._write(f"{_RETURN}{self._text(received, whole, now)}{_CLEAR_TO_END}")

    def _text(self, received: int, whole: int | None, now: float) -> str:
        speed = (received - self._first) / max(now - self._began, 1e-3)
        rate = f"{megabytes(speed)}/s"
        if not whole:
            return f"{self._name}  {megabytes(received)}  {rate}"
        done = min(_WIDTH, int(_WIDTH * received / whole))
        drawn = "#" * done + "." * (_WIDTH - done)
        left = f", {(whole - received) / speed:.0f} s left" if speed > 0 else ""
        return f"{self._name}  [{drawn}] {received / whole:4.0%} of {megabytes(whole)}  {rate}{left}"

    def _is_live(self) -> bool:
        return sys.stderr is not None and sys.stderr.isatty() and os.environ.get("TERM", "dumb") != "dumb"

    def _write(self, text: str) -> None:
        with suppress(OSError, ValueError, AttributeError):  # closed, or none at all
            sys.stderr.write(text)
            sys.stderr.flush()


def megabytes(count: float) -> str:
    """Return a number of bytes in MB, with a digit after the point below 10."""
    return f"{count / 1e6:.1f} MB" if count < 1e7 else f"{count / 1e6:.0f} MB"
