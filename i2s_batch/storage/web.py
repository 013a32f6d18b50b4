"""Reads files of web servers: the images that a list names, a list itself, one image. Nothing can be listed there."""

from __future__ import annotations

import random
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from typing import BinaryIO, cast
from urllib.parse import quote

from i2s_batch.errors import ObjectUnreadableError, StorageError
from i2s_batch.storage.read_only import ReadOnlyStore
from i2s_batch.storage.store import ObjectInfo
from i2s_batch.storage.urls import without_secrets
from i2s_batch.storage.web_requests import BusyServerError, is_web_url
from i2s_batch.storage.web_requests import opened as opened_file

ATTEMPTS = 3
PAUSE_S = 0.5  # the longest pause before the second attempt, doubled each time
TIMEOUT_S = 20.0  # for the next byte
SLOWEST_BYTES_S = 16 * 1024  # a slower response, after a grace of TIMEOUT_S, is given up
_IN_MEMORY_BYTES = 64 * 2**20  # of a list; a larger one goes through a temporary file
_MOST_BYTES = 64 * 2**30
# Characters of a url that stay as they are; others, such as a space or a letter with an accent, are escaped.
_AS_THEY_ARE = "/%:@!$&'()*+,;=~-._"


def open_web(url: str) -> WebStore:
    """Return the store of the files below a url. Touches nothing there."""
    if not is_web_url(url):
        raise StorageError(f"{without_secrets(url)!r} cannot be read, only https:// urls can")
    if "?" in url or "#" in url or "@" in url.split("/")[2]:
        raise StorageError(
            f"{without_secrets(url)!r} was given with a user, a query or a fragment, which may give access and would "
            "stand in the table; give a url without, or download the file"
        )
    scheme, _, rest = url.partition("://")
    host, _, path = rest.partition("/")
    return WebStore(f"{scheme}://{host}/", f"{path.rstrip('/')}/" if path else "")


@dataclass(frozen=True)
class WebStore(ReadOnlyStore):
    """Reads the files of a web server whose paths begin with `prefix` ('' or ending in '/')."""

    can_list = False

    server: str
    prefix: str = ""

    @property
    def url(self) -> str:
        """Return the url, without a '/' at the end."""
        return f"{self.server}{self.prefix}".rstrip("/")

    def uri(self, key: str) -> str:
        """Return the url of a file."""
        return f"{self.server}{self.prefix}{key}"

    def get(self, key: str, limit_bytes: int | None = None) -> bytes:
        """Return the bytes of a file."""
        received = bytearray()
        for part in self._fetched(key, _MOST_BYTES if limit_bytes is None else limit_bytes):
            if part is None:
                received.clear()
            else:
                received += part
        return bytes(received)

    def get_part(self, key: str, start: int, stop: int) -> bytes:
        """Return a part of a file; raise ObjectUnreadableError for a server that sends whole files only."""
        received = bytearray()
        for part in self._fetched(key, max(0, stop - start), (start, stop)) if start < stop else ():
            if part is None:
                received.clear()
            else:
                received += part
        return bytes(received)

    def open(self, key: str) -> BinaryIO:
        """Open a file as a seekable one: a copy, so that all that is read belongs to one version."""
        with ExitStack() as opened:
            copy = opened.enter_context(tempfile.SpooledTemporaryFile(_IN_MEMORY_BYTES))
            for part in self._fetched(key, _MOST_BYTES):
                if part is None:
                    copy.seek(0)
                    copy.truncate()
                else:
                    copy.write(part)
            copy.seek(0)
            opened.pop_all()  # the caller closes the copy
        return cast("BinaryIO", copy)

    def list(self, prefix: str = "") -> Iterator[ObjectInfo]:
        """Raise StorageError: a web server does not say which files it has."""
        raise StorageError(
            f"the files at {without_secrets(self.uri(prefix))!r} cannot be listed; give an image, or a list of urls "
            "(.txt, .csv, .json, .jsonl, .parquet)"
        )

    def _fetched(self, key: str, limit_bytes: int, wanted: tuple[int, int] | None = None) -> Iterator[bytes | None]:
        """Yield a file, or the `wanted` bytes of it, in parts; None where it begins again after a failed attempt."""
        for attempt in range(1, ATTEMPTS + 1):
            try:
                yield from self._attempt(key, limit_bytes, wanted)
                return
            except BusyServerError as error:
                # One of many servers that images come from: it must not end the run.
                if attempt == ATTEMPTS:
                    raise ObjectUnreadableError(f"{error} (at {ATTEMPTS} attempts)") from error
            time.sleep(random.uniform(0, PAUSE_S * 2**attempt))
            yield None

    def _attempt(self, key: str, limit_bytes: int, wanted: tuple[int, int] | None) -> Iterator[bytes]:
        uri = self.uri(key)
        began, received = time.monotonic(), 0
        with opened_file(quote(uri, safe=_AS_THEY_ARE), TIMEOUT_S, wanted) as response:
            if wanted is not None and not response.is_part:
                raise ObjectUnreadableError(f"{uri!r}: its server sends no parts of a file; download the file")
            if response.size is not None and response.size > limit_bytes:
                raise ObjectUnreadableError(f"{uri!r} has {response.size} bytes; the limit is {limit_bytes}")
            for part in response.parts:
                received += len(part)
                if received > limit_bytes:
                    raise ObjectUnreadableError(f"{uri!r} has more than {limit_bytes} bytes, the limit")
                if (seconds := time.monotonic() - began) > TIMEOUT_S + received / SLOWEST_BYTES_S:
                    raise BusyServerError(f"{uri!r} cannot be fetched: only {received} bytes came in {seconds:.0f} s")
                yield part
            if response.size is not None and received != response.size:
                raise BusyServerError(f"{uri!r} broke off after {received} of {response.size} bytes")
