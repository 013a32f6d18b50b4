"""Downloads network weights to a local file: fetched once a machine, whole, checked."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from i2s_batch.errors import CheckpointError, ObjectNotFoundError, StorageError
from i2s_batch.storage.cache_folder import cache_folders
from i2s_batch.storage.exclusive import wait_for_lock
from i2s_batch.storage.files import TEMPORARY_PREFIX, local_error
from i2s_batch.storage.schemes import is_remote, split_url
from i2s_batch.storage.schemes import opened as opened_store
from i2s_batch.storage.urls import without_secrets
from i2s_batch.storage.web_requests import WebResponse, is_web_url, opened

TIMEOUT_S = 60.0  # for the next byte
_CHUNK_BYTES = 2**20
_GIVE_A_FILE = "check the network, or download it elsewhere and give the local file"

_WEB = ("https", "http")

Fetch = Callable[[Path], None]


def stage(
    url: str | os.PathLike[str],
    sha256_prefix: str | None = None,
    cache_dir: str | os.PathLike[str] | None = None,
) -> Path:
    """Return a local file with the content of `url`.

    `url` is a local path, the url of a store such as `s3://`, or `https://` (`http://` on this machine only).

    A local path is returned as it is. Anything else is fetched into the cache unless it is there already; of many
    processes one fetches and the others wait. An object of a store that has changed is fetched again; an https file is
    taken to be the same as long as its hash fits.

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
    if is_web_url(url):
        return _fetched(without_secrets(url), url, expected, caches, lambda temporary: _download(url, temporary))
    if scheme in _WEB or not is_remote(url):
        allowed = "a local path, or a url with s3://, https://, gs://, az:// or hf://"
        raise CheckpointError(f"{without_secrets(url)!r} cannot be fetched; give {allowed}")
    return _stage_object(url, expected, caches)


def _local_file(path: str) -> Path:
    file = Path(path)
    if file.is_file():
        return file
    found = "is a folder" if file.is_dir() else "does not exist"
    raise CheckpointError(f"{path!r} {found}; give the file with the network's weights")


def _stage_object(url: str, expected: str, caches: list[Path]) -> Path:
    try:
        root, key = split_url(url)
        store = opened_store(root)
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


def _download(url: str, path: Path) -> None:
    shown = without_secrets(url)
    try:
        with opened(url, TIMEOUT_S) as response:
            _save(response, shown, path)
    except StorageError as error:
        raise CheckpointError(f"{error}; {_GIVE_A_FILE}") from error


def _save(response: WebResponse, url: str, path: Path) -> None:
    with path.open("wb") as file:
        for part in response.parts:
            file.write(part)
        received = file.tell()
    if response.size is not None and received != response.size:  # a broken connection looks like the end of the file
        raise CheckpointError(f"{url!r} broke off after {received} of {response.size} bytes; {_GIVE_A_FILE}")
