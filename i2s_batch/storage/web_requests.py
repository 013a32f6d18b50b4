"""Asks web servers for files: by https alone, or by http on this machine, also after a redirect."""

from __future__ import annotations

import base64
import http.client
import ipaddress
import re
import socket
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
_CONTENT_RANGE = re.compile(r"bytes (\d+)-\d+/(\d+|\*)")
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
    """Holds the response to a request: its parts as they arrive, and what its headers say.

    Attributes:
        parts: The bytes.
        size: How many bytes were announced; None if it was not said, or makes no sense.
        is_part: Whether a part of a file came, as it was asked for; else the whole file.
        status: The status, such as 200.
        content_type: The type without its parameters, lower case; "" if none was sent.
        start: The position in the file of the first byte; None for a part without a position.
        whole_size: The size of the whole file, where a part says it.
        validator: What changes when the file does: a strong entity tag, else the date of the last change; "" for none.
    """

    parts: Iterator[bytes]
    size: int | None
    is_part: bool = False
    status: int = 200
    content_type: str = ""
    start: int | None = 0
    whole_size: int | None = None
    validator: str = ""


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
def opened(
    url: str,
    timeout_s: float,
    part: tuple[int, int | None] | None = None,
    *,
    unless_changed: str = "",
    from_this_machine: bool = True,
) -> Iterator[WebResponse]:
    """Open what is at a url.

    Args:
        url: It may hold a user name and a password, which no message shows.
        timeout_s: For the next byte.
        part: The first byte that is wanted and the one after the last (None: to the end); None for the whole file. Not
            every server sends parts.
        unless_changed: The validator of an earlier response: if the file has another now, all of it comes.
        from_this_machine: Whether a server of this machine (a loopback address) may redirect to this machine. No other
            server may, whatever this is.

    Raises:
        ObjectNotFoundError: The server says that it does not exist.
        ObjectUnreadableError: The server refuses it, or it is not on a web server, or leads to one without encryption,
            or to an address of this machine or of its own network segment.
        BusyServerError: The server may respond later.
    """
    shown = without_secrets(url)
    _check(url)
    try:
        redirects = _SafeRedirects(from_this_machine and _is_on_this_machine(url))
        opener = urllib.request.build_opener(redirects)
        with closing(opener.open(_request(url, part, unless_changed), timeout=timeout_s)) as response:
            yield _described(response)
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


def _described(response: Any) -> WebResponse:
    """Return a response with what its headers say of it."""
    headers, status = response.headers, response.status
    kind = str(headers.get("Content-Type") or "").partition(";")[0].strip().lower()
    tag = str(headers.get("ETag") or "")
    validator = str(headers.get("Last-Modified") or "") if not tag or tag.startswith("W/") else tag
    start: int | None = 0
    whole_size = None
    if status == _PARTIAL:
        found = _CONTENT_RANGE.fullmatch(str(headers.get("Content-Range") or "").strip())
        start = None if found is None else int(found[1])
        whole_size = None if found is None or found[2] == "*" else int(found[2])
    announced = str(headers.get("Content-Length") or "").strip()
    size = int(announced) if announced.isascii() and announced.isdigit() else None
    return WebResponse(_parts(response), size, status == _PARTIAL, status, kind, start, whole_size, validator)


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


def _is_on_this_machine(url: str) -> bool:
    with suppress(ValueError):
        return _is_loopback(urlsplit(url).hostname or "")
    return False


class _SafeRedirects(urllib.request.HTTPRedirectHandler):
    """Follows redirects, but not out of https, nor to this machine or its network segment.

    There services answer that trust whoever asks from here, such as the one that gives out a cloud's credentials.

    Args:
        from_this_machine: Whether the first server is on this machine, which may then lead there.
    """

    def __init__(self, from_this_machine: bool) -> None:
        self._from_this_machine = from_this_machine

    def redirect_request(
        self, req: urllib.request.Request, fp: IO[bytes], code: int, msg: str, headers: Message, newurl: str
    ) -> urllib.request.Request | None:
        """Return the request for the new url; raise ObjectUnreadableError for one that is not followed."""
        try:
            self._check(newurl, req.full_url)
        except ObjectUnreadableError:
            fp.close()
            raise
        return super().redirect_request(req, fp, code, msg, headers, newurl)  # type: ignore[arg-type]

    def _check(self, url: str, asked: str) -> None:
        if self._from_this_machine and _is_on_this_machine(asked) and _is_on_this_machine(url) and is_web_url(url):
            return
        _check(url)
        if (address := _inner_address(urlsplit(url).hostname or "")) is not None:
            raise ObjectUnreadableError(
                f"{without_secrets(url)!r} cannot be fetched: a redirect to {address}, an address of this machine or "
                "of its own network segment, is not followed"
            )


def _inner_address(host: str) -> str | None:
    """Return the loopback or link-local address that a host has; None if it has none, or none is known."""
    try:
        found = {str(each[4][0]).partition("%")[0] for each in socket.getaddrinfo(host, None)}
    except (OSError, UnicodeError):  # the request itself says why
        return None
    return next((each for each in sorted(found) if _is_inner(each)), None)


def _is_inner(address: str) -> bool:
    try:
        number = ipaddress.ip_address(address)
    except ValueError:
        return False
    mapped = getattr(number, "ipv4_mapped", None)
    found = number if mapped is None else mapped
    return found.is_loopback or found.is_link_local or found.is_unspecified


def _request(url: str, part: tuple[int, int | None] | None, unless_changed: str) -> urllib.request.Request:
    """Return the request for a url, or a part of it.

    Its user name and password are sent to its own server, never after a redirect.
    """
    parts = urlsplit(url)
    user, at, host = parts.netloc.rpartition("@")
    request = urllib.request.Request(parts._replace(netloc=host).geturl(), headers={"User-Agent": "i2s_batch"})
    if part is not None:
        start, stop = part
        request.add_header("Range", f"bytes={start}-{'' if stop is None else stop - 1}")
        if unless_changed:
            request.add_header("If-Range", unless_changed)
    if at:
        token = base64.b64encode(unquote_to_bytes(user)).decode()
        request.add_unredirected_header("Authorization", f"Basic {token}")
    return request
