"""Downloads network weights to a local file: fetched once a machine, whole, checked."""

from __future__ import annotations

import base64
import hashlib
import http.client
import ipaddress
import os
import shutil
import ssl
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from email.message import Message
from pathlib import Path
from typing import IO, Any
from urllib.parse import unquote_to_bytes, urlsplit

from i2s_batch.errors import CheckpointError, ObjectNotFoundError, StorageError
from i2s_batch.storage.cache_folder import cache_folders
from i2s_batch.storage.exclusive import wait_for_lock
from i2s_batch.storage.files import TEMPORARY_PREFIX, local_error
from i2s_batch.storage.urls import hide_secrets, without_secrets

TIMEOUT_S = 60.0  # for the next byte
_CHUNK_BYTES = 2**20
_GIVE_A_FILE = "check the network, or download it elsewhere and give the local file"

_NETWORK_ERRORS = (
    urllib.error.URLError,
    http.client.HTTPException,
    TimeoutError,
    ConnectionError,
    ssl.SSLError,
)

Fetch = Callable[[Path], None]


def stage(
    url: str | os.PathLike[str],
    sha256_prefix: str | None = None,
    cache_dir: str | os.PathLike[str] | None = None,
) -> Path:
    """Return a local file with the content of `url`.

    `url` is a local path, `s3://` or `https://` (`http://` on this machine only).

    A local path is returned as it is. Anything else is fetched into the cache unless it is there already; of many
    processes one fetches and the others wait. An S3 object that has changed is fetched again; an https file is taken to
    be the same as long as its hash fits.

    Args:
        url: Where the content is.
        sha256_prefix: The first hex digits of the content's SHA-256; None checks nothing.
        cache_dir: The cache; None for $I2S_CACHE, else the first of `cache_folders` that can be written to.

    Raises:
        CheckpointError: The content cannot be fetched, or has another hash.
    """
    url = os.fspath(url)
    scheme, mark, _ = url.partition("://")
    scheme = scheme.lower() if mark else ""
    expected = (sha256_prefix or "").lower()
    if not scheme:
        path = _local_file(url)
        _check_hash(url, path, expected)
        return path
    caches = [Path(cache_dir)] if cache_dir else list(cache_folders())
    if scheme == "s3":
        return _stage_s3(url, expected, caches)
    _check_web_url(url)
    return _fetched(without_secrets(url), url, expected, caches, lambda temporary: _download(url, temporary))


def _local_file(path: str) -> Path:
    file = Path(path)
    if file.is_file():
        return file
    found = "is a folder" if file.is_dir() else "does not exist"
    raise CheckpointError(f"{path!r} {found}; give the file with the network's weights")


def _stage_s3(url: str, expected: str, caches: list[Path]) -> Path:
    from i2s_batch.storage.s3 import S3Store, split_s3_url

    try:
        bucket, key = split_s3_url(url)
        store = S3Store(bucket)
        identity = f"{url} {store.etag(key)}"
        return _fetched(url, identity, expected, caches, lambda path: _write(path, store.get(key)))
    except ObjectNotFoundError as error:
        raise CheckpointError(f"{url!r} does not exist; give the file with the network's weights") from error
    except StorageError as error:
        raise CheckpointError(f"{error}; or give a local file") from error


def _write(path: Path, data: bytes) -> None:
    path.write_bytes(data)


def _fetched(url: str, identity: str, expected: str, caches: list[Path], fetch: Fetch) -> Path:
    """Return the cached file of `identity`, fetched into the first cache that takes it if none has it yet."""
    key = hashlib.sha256(identity.encode("utf-8", "surrogateescape")).hexdigest()[:16]
    targets = [cache / f"{key}-{_plain_name(url)}" for cache in caches]
    for target in targets:
        with suppress(OSError):  # a cache that cannot be read is no cache
            if _is_whole(target, expected):
                return target
    refusal = "there is no home and no folder for temporary files"
    for target in targets:
        try:
            return _fetched_into(target, url, expected, fetch)
        except OSError as error:
            refusal = str(local_error(error, str(target)))
    raise CheckpointError(f"{refusal} (cache of {url!r}); or set I2S_CACHE to a folder that can be written to")


def _fetched_into(target: Path, url: str, expected: str, fetch: Fetch) -> Path:
    """Return `target` with the content of `url`; of many processes one fetches it, where files can be locked."""
    target.parent.mkdir(parents=True, exist_ok=True)
    with _locked(target.with_name(f"{target.name}.lock")) as alone:
        if not _is_whole(target, expected):
            own = "" if alone else f"-{os.getpid()}"
            temporary = target.with_name(f"{TEMPORARY_PREFIX}{target.name}{own}")
            try:
                fetch(temporary)
                _check_hash(url, temporary, expected)
                temporary.replace(target)
            finally:
                temporary.unlink(missing_ok=True)
    return target


def _is_whole(target: Path, expected: str) -> bool:
    """Return whether a file is cached, with the expected hash."""
    return target.exists() and _digest(target, expected).startswith(expected)


def _plain_name(url: str) -> str:
    """Return the last part of the url as a file name, for people who look into the cache."""
    name = without_secrets(url).rpartition("/")[2][-80:]
    return "".join(character if character.isalnum() or character in ".-_" else "_" for character in name) or "weights"


@contextmanager
def _locked(path: Path) -> Iterator[bool]:
    """Hold an exclusive lock between processes; it ends with the process, however that ends.

    Yields False where the file system has no locks.
    """
    with path.open("w") as file:
        yield wait_for_lock(file)


def _digest(path: Path, expected: str) -> str:
    """Return the SHA-256 of a file, hex; not computed ('') if nothing is expected."""
    digest = hashlib.sha256()
    if not expected:
        return ""
    with path.open("rb") as file:
        while chunk := file.read(_CHUNK_BYTES):
            digest.update(chunk)
    return digest.hexdigest()


def _check_hash(url: str, path: Path, expected: str) -> None:
    found = _digest(path, expected)
    if not found.startswith(expected):
        raise CheckpointError(f"{url!r} has SHA-256 {found}, not {expected}...; give the right file")


def _check_web_url(url: str) -> None:
    """Raise CheckpointError unless weights from this url travel encrypted, or not beyond this machine."""
    with suppress(ValueError):  # not a host, such as half an IPv6 address
        parts = urlsplit(url)
        if parts.scheme == "https" or (parts.scheme == "http" and _is_loopback(parts.hostname or "")):
            return
    raise CheckpointError(f"{without_secrets(url)!r} cannot be fetched; give a local path, s3:// or https:// url")


def _is_loopback(host: str) -> bool:
    try:
        return host == "localhost" or ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


class _SafeRedirects(urllib.request.HTTPRedirectHandler):
    """Follows redirects, but not out of https."""

    def redirect_request(
        self, req: urllib.request.Request, fp: IO[bytes], code: int, msg: str, headers: Message, newurl: str
    ) -> urllib.request.Request | None:
        """Return the request for the new url; raise CheckpointError for one that is not https."""
        try:
            _check_web_url(newurl)
        except CheckpointError:
            fp.close()
            raise
        return super().redirect_request(req, fp, code, msg, headers, newurl)  # type: ignore[arg-type]


def _request(url: str) -> urllib.request.Request:
    """Return the request for a url; its user name and password are sent to its own server, never after a redirect."""
    parts = urlsplit(url)
    user, at, host = parts.netloc.rpartition("@")
    request = urllib.request.Request(parts._replace(netloc=host).geturl(), headers={"User-Agent": "i2s_batch"})
    if at:
        token = base64.b64encode(unquote_to_bytes(user)).decode()
        request.add_unredirected_header("Authorization", f"Basic {token}")
    return request


def _download(url: str, path: Path) -> None:
    opener = urllib.request.build_opener(_SafeRedirects)
    request, shown = _request(url), without_secrets(url)
    try:
        with opener.open(request, timeout=TIMEOUT_S) as response:
            _save(response, shown, path)
    except urllib.error.HTTPError as error:
        reason = hide_secrets(" ".join(f"the server responded with {error.code} {error.reason}".split()))
        error.close()
        raise CheckpointError(f"{shown!r} cannot be fetched: {reason}; {_GIVE_A_FILE}") from error
    except http.client.InvalidURL as error:  # its own message would show the whole url
        raise CheckpointError(
            f"{shown!r}, or the rest of the url, which is not shown, holds a space or control character; correct it"
        ) from error
    except _NETWORK_ERRORS as error:
        reason = hide_secrets(" ".join(str(getattr(error, "reason", error)).split())) or type(error).__name__
        raise CheckpointError(f"{shown!r} cannot be fetched: {reason}; {_GIVE_A_FILE}") from error


def _save(response: Any, url: str, path: Path) -> None:
    with path.open("wb") as file:
        shutil.copyfileobj(response, file, _CHUNK_BYTES)
        received = file.tell()
    announced = response.headers.get("Content-Length")
    if announced is not None and received != int(announced):  # a broken connection looks like the end of the file
        raise CheckpointError(f"{url!r} broke off after {received} of {announced} bytes; {_GIVE_A_FILE}")
