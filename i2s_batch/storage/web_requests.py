"""Asks web servers for files: by https alone, or by http on this machine, also after a redirect."""

from __future__ import annotations

import base64
import http.client
import ipaddress
import ssl
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass
from email.message import Message
from typing import IO, Any
from urllib.parse import unquote_to_bytes, urlsplit

from i2s_batch.errors import ObjectNotFoundError, ObjectUnreadableError, StorageError
from i2s_batch.storage.urls import hide_secrets, without_secrets

_PART_BYTES = 2**20
_PARTIAL = 206
_NO_SUCH_PART = 416
_GONE = (404, 410)
_BUSY = (408, 429, 500, 502, 503, 504)
_NETWORK_ERRORS = (
    urllib.error.URLError,
    http.client.HTTPException,
    TimeoutError,
    ConnectionError,
    ssl.SSLError,
)


class BusyServerError(StorageError):
    """Reports a server that may respond later: it is busy, or the network failed."""


@dataclass(frozen=True)
class WebResponse:
    """Holds the response to a request: its parts as they arrive, and the size that was announced, if one was."""

    parts: Iterator[bytes]
    size: int | None
    is_part: bool = False  # of a file, as it was asked for; else the whole file came


def is_web_url(url: str) -> bool:
    """Return whether what is at a url travels encrypted, or not beyond this machine."""
    with suppress(ValueError):  # not a host, such as half an IPv6 address
        parts = urlsplit(url)
        return parts.scheme == "https" or (parts.scheme == "http" and _is_loopback(parts.hostname or ""))
    return False


def _is_loopback(host: str) -> bool:
    try:
        return host == "localhost" or ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


@contextmanager
def opened(url: str, timeout_s: float, part: tuple[int, int] | None = None) -> Iterator[WebResponse]:
    """Open what is at a url.

    Args:
        url: It may hold a user name and a password, which no message shows.
        timeout_s: For the next byte.
        part: The first byte that is wanted and the one after the last; None for the whole file. Not every server
            sends parts.

    Raises:
        ObjectNotFoundError: The server says that it does not exist.
        ObjectUnreadableError: The server refuses it, or it is not on a web server, or leads to one without encryption.
        BusyServerError: The server may respond later.
    """
    shown = without_secrets(url)
    _check(url)
    try:
        with closing(
            urllib.request.build_opener(_SafeRedirects).open(_request(url, part), timeout=timeout_s)
        ) as response:
            announced = response.headers.get("Content-Length")
            size = None if announced is None else int(announced)
            yield WebResponse(_parts(response), size, response.status == _PARTIAL)
    except urllib.error.HTTPError as error:
        error.close()
        if part is not None and error.code == _NO_SUCH_PART:
            yield WebResponse(iter(()), 0, is_part=True)
            return
        reason = hide_secrets(" ".join(f"the server responded with {error.code} {error.reason}".split()))
        raise _kind_of(error.code)(f"{shown!r} cannot be fetched: {reason}") from error
    except http.client.InvalidURL as error:  # its own message would show the whole url
        raise ObjectUnreadableError(
            f"{shown!r}, or the rest of the url, which is not shown, holds a space or control character; correct it"
        ) from error
    except _NETWORK_ERRORS as error:
        reason = hide_secrets(" ".join(str(getattr(error, "reason", error)).split())) or type(error).__name__
        raise BusyServerError(f"{shown!r} cannot be fetched: {reason}") from error


def _kind_of(status: int) -> type[StorageError]:
    if status in _GONE:
        return ObjectNotFoundError
    return BusyServerError if status in _BUSY else ObjectUnreadableError


def _parts(response: Any) -> Iterator[bytes]:
    while part := response.read1(_PART_BYTES):
        yield part


def _check(url: str) -> None:
    if not is_web_url(url):
        raise ObjectUnreadableError(f"{without_secrets(url)!r} cannot be fetched, only https:// urls can")


class _SafeRedirects(urllib.request.HTTPRedirectHandler):
    """Follows redirects, but not out of https."""

    def redirect_request(
        self, req: urllib.request.Request, fp: IO[bytes], code: int, msg: str, headers: Message, newurl: str
    ) -> urllib.request.Request | None:
        """Return the request for the new url; raise ObjectUnreadableError for one that is not https."""
        try:
            _check(newurl)
        except ObjectUnreadableError:
            fp.close()
            raise
        return super().redirect_request(req, fp, code, msg, headers, newurl)  # type: ignore[arg-type]


def _request(url: str, part: tuple[int, int] | None) -> urllib.request.Request:
    """Return the request for a url, or a part of it.

    Its user name and password are sent to its own server, never after a redirect.
    """
    parts = urlsplit(url)
    user, at, host = parts.netloc.rpartition("@")
    request = urllib.request.Request(parts._replace(netloc=host).geturl(), headers={"User-Agent": "i2s_batch"})
    if part is not None:
        request.add_header("Range", f"bytes={part[0]}-{part[1] - 1}")
    if at:
        token = base64.b64encode(unquote_to_bytes(user)).decode()
        request.add_unredirected_header("Authorization", f"Basic {token}")
    return request
