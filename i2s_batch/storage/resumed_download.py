"""Fetches one large file from a web server: by as many requests as it takes, each from where the last one broke off.

    ResumedDownload("https://.../ffhq.pkl", Path("ffhq.part"), DownloadRules())()

What has come stays in the file if the process is killed, and beside it, in `NAME.json`, the address and what the server
says of its version: the next download goes on from there if the server still has the same file, else from the start.
What is no file at all (an empty response, a status that is not 200, a web page) leaves nothing behind.
"""

from __future__ import annotations

import errno
import hashlib
import json
import os
import random
import shutil
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from http import HTTPStatus
from pathlib import Path

from i2s_batch.errors import ObjectNotFoundError, ObjectUnreadableError
from i2s_batch.storage.urls import without_secrets
from i2s_batch.storage.web_requests import BusyServerError, WebResponse, opened

MOST_BYTES = 16 * 2**30  # the largest published generator has some 0.4 GB
_SLOWEST_BYTES_S = 1024  # a slower response, after a grace of `timeout_s`, is given up and asked for again
_PROGRESS_BYTES = 2**20  # an attempt that brings as much is no failure in a row
_PAGES = ("text/html", "application/xhtml+xml")
_PAGE_STARTS = (b"<!doctype html", b"<html", b"<head")

Progress = Callable[[int, int | None], None]  # bytes that have come, and all of them if that is known


@dataclass(frozen=True)
class DownloadRules:
    """Holds what a download may take.

    Attributes:
        limit_bytes: The largest file that is fetched.
        timeout_s: Time for the next byte.
        attempts: Attempts in a row that bring nothing new.
        pause_s: The longest pause before the second attempt, doubled each time.
        from_this_machine: Whether a server of this machine may redirect to this machine, as those of tests do.
    """

    limit_bytes: int = MOST_BYTES
    timeout_s: float = 60.0
    attempts: int = 4
    pause_s: float = 0.5
    from_this_machine: bool = False


AS_USUAL = DownloadRules()


@dataclass(frozen=True)
class ResumedDownload:
    """Fetches a url into a local file when it is called."""

    url: str
    path: Path
    rules: DownloadRules = AS_USUAL
    progress: Progress | None = None

    def __call__(self) -> None:
        """Fetch the file.

        Raises:
            ObjectNotFoundError: The server says that it does not exist.
            ObjectUnreadableError: The server refuses it, sends something else, or does not send it at any attempt.
            OSError: It cannot be written.
        """
        is_whole = False
        try:
            self._all_attempts()
            is_whole = True
        finally:
            if not is_whole and not self._resumable():
                self._forget()
        self._note.unlink(missing_ok=True)

    def _all_attempts(self) -> None:
        failures, reached = 0, self._size()
        while True:
            try:
                self._attempt()
                return
            except BusyServerError as error:
                has_progressed = self._size() >= reached + _PROGRESS_BYTES
                failures, reached = 1 if has_progressed else failures + 1, max(reached, self._size())
                if failures >= self.rules.attempts:
                    raise ObjectUnreadableError(f"{error} (at {failures} attempts)") from error
            except (ObjectUnreadableError, ObjectNotFoundError, OSError):
                self._forget()  # a disk that is full gets its space back, too
                raise
            time.sleep(random.uniform(0, self.rules.pause_s * 2**failures))

    def _attempt(self) -> None:
        validator = self._resumable()
        start = self._size() if validator else 0
        part = (start, None) if start else None
        with opened(
            self.url,
            self.rules.timeout_s,
            part,
            unless_changed=validator if start else "",
            from_this_machine=self.rules.from_this_machine,
        ) as response:
            if start and response.is_part:
                self._check_continued(response, start, validator)
            else:
                start = 0
                self._check_whole(response)
            whole = None if response.size is None else start + response.size
            self._check_size(whole or 0)
            self._check_room((whole or 0) - start)
            if not start:
                self._begin(response.validator)
            self._save(response, start, whole)

    def _save(self, response: WebResponse, start: int, whole: int | None) -> None:
        began, received = time.monotonic(), 0
        with self.path.open("ab") as file:
            for part in response.parts:
                if not start and not received and part[:512].lstrip().lower().startswith(_PAGE_STARTS):
                    raise self._unreadable("a web page came instead of the file")
                received += len(part)
                self._check_size(start + received)
                file.write(part)
                if self.progress is not None:
                    self.progress(start + received, whole)
                if (seconds := time.monotonic() - began) > self.rules.timeout_s + received / _SLOWEST_BYTES_S:
                    raise self._busy(f"only {received} bytes came in {seconds:.0f} s")
        if response.size is not None and received != response.size:  # a broken connection looks like the end
            raise self._busy(f"it broke off after {start + received} of {whole} bytes")
        if not start + received:
            raise self._unreadable("the response was empty")

    def _check_continued(self, response: WebResponse, start: int, validator: str) -> None:
        """Raise BusyServerError, and begin anew, unless the response goes on where the file ends."""
        if response.start == start and response.size and response.validator in ("", validator):
            return
        self._forget()
        raise self._busy("the server did not continue where the last response had broken off")

    def _check_whole(self, response: WebResponse) -> None:
        if response.status != HTTPStatus.OK:
            with suppress(ValueError):
                known = HTTPStatus(response.status)
                raise self._unreadable(f"the server responded with {known.value} {known.phrase}, not with the file")
            raise self._unreadable(f"the server responded with {response.status}, not with the file")
        if response.content_type in _PAGES:
            raise self._unreadable("a web page came instead of the file")

    def _check_size(self, count: int) -> None:
        if count > self.rules.limit_bytes:
            raise self._unreadable(f"it has more than {self.rules.limit_bytes} bytes, the limit")

    def _check_room(self, count: int) -> None:
        """Raise OSError, as a write would later, if the disk has no room for as many bytes."""
        if count > shutil.disk_usage(self.path.parent).free:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(self.path))

    def _begin(self, validator: str) -> None:
        self._forget()
        self.path.touch()
        if validator:
            self._note.write_text(json.dumps({"address": self._address(), "validator": validator}))

    def _resumable(self) -> str:
        """Return the validator of the file of which a part is here; "" if there is none."""
        with suppress(OSError, ValueError):
            note = json.loads(self._note.read_text())
            if isinstance(note, dict) and note.get("address") == self._address() and self._size():
                return str(note.get("validator") or "")
        return ""

    def _forget(self) -> None:
        self.path.unlink(missing_ok=True)
        self._note.unlink(missing_ok=True)

    @property
    def _note(self) -> Path:
        return self.path.with_name(f"{self.path.name}.json")

    def _address(self) -> str:
        """Return a hash of the url, which may hold a secret."""
        return hashlib.sha256(self.url.encode("utf-8", "surrogateescape")).hexdigest()

    def _size(self) -> int:
        return self.path.stat().st_size if self.path.exists() else 0

    def _unreadable(self, reason: str) -> ObjectUnreadableError:
        return ObjectUnreadableError(f"{without_secrets(self.url)!r} cannot be fetched: {reason}")

    def _busy(self, reason: str) -> BusyServerError:
        return BusyServerError(f"{without_secrets(self.url)!r} cannot be fetched: {reason}")
