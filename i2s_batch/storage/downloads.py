"""Downloads network weights to a local file: fetched once a machine, whole, checked."""

from __future__ import annotations

import hashlib
import logging
import os
import shutil
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from i2s_batch.errors import CheckpointError, ObjectNotFoundError, StorageError
from i2s_batch.storage.cache_folder import cache_folders
from i2s_batch.storage.download_bar import DownloadBar
from i2s_batch.storage.exclusive import wait_for_lock
from i2s_batch.storage.files import TEMPORARY_PREFIX, local_error
from i2s_batch.storage.resumed_download import AS_USUAL, DownloadRules, ResumedDownload
from i2s_batch.storage.schemes import is_remote, split_url
from i2s_batch.storage.schemes import opened as opened_store
from i2s_batch.storage.urls import without_secrets
from i2s_batch.storage.web_requests import is_web_url

OFFLINE = "I2S_OFFLINE"  # the environment variable that lets nothing be fetched from a web server
_CHUNK_BYTES = 2**20
_SHA256_DIGITS = 64
_GIVE_A_FILE = "check the network, or download it elsewhere and give the local file"

_WEB = ("https", "http")

Fetch = Callable[[Path], None]
Check = Callable[[Path], object]
Folders = str | os.PathLike[str] | Sequence[Path] | None


class WebFetchError(CheckpointError):
    """Reports a file of a web server that cannot be fetched: its address may have moved, or the network is down."""


def is_offline() -> bool:
    """Return whether nothing may be fetched from a web server ($I2S_OFFLINE is neither empty nor 0)."""
    return os.environ.get(OFFLINE, "0") not in ("", "0")


def stage(
    url: str | os.PathLike[str],
    sha256_prefix: str | None = None,
    cache_dir: Folders = None,
    *,
    check: Check | None = None,
    rules: DownloadRules = AS_USUAL,
) -> Path:
    """Return a local file with the content of `url`.

    `url` is a local path, the url of a store such as `s3://`, or `https://` (`http://` on this machine only).

    A local path is returned as it is. Anything else is fetched into the cache unless it is there already; of many
    processes one fetches and the others wait. An object of a store that has changed is fetched again; an https file is
    taken to be the same as long as its hash fits.

    Args:
        url: Where the content is.
        sha256_prefix: The first hex digits of the content's SHA-256; None checks nothing.
        cache_dir: The cache, or several, of which the first that can be written to is used; None for $I2S_CACHE, else
            for `cache_folders`.
        check: Reads a fetched file before it is cached; CheckpointError, and nothing is cached, if it is none.
        rules: What a download from a web server may take.

    Raises:
        CheckpointError: The content cannot be fetched, has another hash, or is not what `check` reads.
        WebFetchError: A web server does not send it, or may not be asked.
    """
    url = os.fspath(url)
    scheme, mark, _ = url.partition("://")
    scheme = scheme.lower() if mark else ""
    expected = (sha256_prefix or "").lower()
    if not scheme:
        path = _local_file(url)
        _check_hash(url, path, expected)
        return path
    caches = _folders(cache_dir)
    if is_web_url(url):
        return _Cached(without_secrets(url), url, expected, check).fetched(
            caches, lambda path: _download(url, path, expected, rules)
        )
    if scheme in _WEB or not is_remote(url):
        allowed = "a local path, or a url with s3://, https://, gs://, az:// or hf://"
        raise CheckpointError(f"{without_secrets(url)!r} cannot be fetched; give {allowed}")
    return _stage_object(url, expected, caches, check)


def keep(
    file: Path,
    url: str,
    sha256_prefix: str | None = None,
    cache_dir: Folders = None,
    *,
    check: Check | None = None,
) -> Path:
    """Return the cached file of `url`, a copy of a local file that was downloaded by other means, as `stage` does."""
    file = _local_file(str(file))
    caches = _folders(cache_dir)
    what = _Cached(without_secrets(url), url, (sha256_prefix or "").lower(), check, str(file))
    return what.fetched(caches, lambda path: _write_copy(file, path))


def cached_at(url: str, sha256_prefix: str | None = None, cache_dir: Folders = None) -> tuple[Path | None, Path | None]:
    """Return where the file of a web address is cached, and where it would be; None where it is, or can be, nowhere."""
    caches = _folders(cache_dir)
    what = _Cached(without_secrets(url), url, (sha256_prefix or "").lower())
    return what.present(caches), next(iter(what.targets(caches)), None)


def _folders(cache_dir: Folders) -> list[Path]:
    if isinstance(cache_dir, Sequence) and not isinstance(cache_dir, str):
        return list(cache_dir)
    return [Path(cache_dir)] if cache_dir else list(cache_folders())


def _local_file(path: str) -> Path:
    file = Path(path)
    if file.is_file():
        return file
    found = "is a folder" if file.is_dir() else "does not exist"
    raise CheckpointError(f"{path!r} {found}; give the file with the network's weights")


def _stage_object(url: str, expected: str, caches: list[Path], check: Check | None) -> Path:
    try:
        root, key = split_url(url)
        store = opened_store(root)
        what = _Cached(url, f"{url} {store.etag(key)}", expected, check)
        return what.fetched(caches, lambda path: _write(path, store.get(key)))
    except ObjectNotFoundError as error:
        raise CheckpointError(f"{url!r} does not exist; give the file with the network's weights") from error
    except StorageError as error:
        raise CheckpointError(f"{error}; or give a local file") from error


def _write(path: Path, data: bytes) -> None:
    path.write_bytes(data)


def _write_copy(file: Path, path: Path) -> None:
    shutil.copyfile(file, path)


@dataclass(frozen=True)
class _Cached:
    """Finds or makes the cached copy of one content.

    Attributes:
        url: Where the content is, as it may be shown.
        identity: The address and version, which no other content has.
        expected: The first digits of its SHA-256; "" if they are not known.
        check: See `stage`.
        origin: What messages call the content; "" for its url.
    """

    url: str
    identity: str
    expected: str
    check: Check | None = None
    origin: str = ""

    def targets(self, caches: list[Path]) -> list[Path]:
        """Return its path in each cache."""
        key = hashlib.sha256(self.identity.encode("utf-8", "surrogateescape")).hexdigest()[:16]
        return [cache / f"{key}-{_plain_name(self.url)}" for cache in caches]

    def present(self, caches: list[Path]) -> Path | None:
        """Return the cached file; None if no cache has it."""
        for target in self.targets(caches):
            with suppress(OSError):  # a cache that cannot be read is no cache
                if _is_whole(target, self.expected):
                    return target
        return None

    def fetched(self, caches: list[Path], fetch: Fetch) -> Path:
        """Return the cached file, fetched into the first cache that takes it if none has it yet."""
        if (found := self.present(caches)) is not None:
            return found
        refusal = "there is no home and no folder for temporary files"
        for target in self.targets(caches):
            try:
                return self._fetched_into(target, fetch)
            except OSError as error:
                refusal = str(local_error(error, str(target)))
        raise CheckpointError(f"{refusal} (cache of {self.url!r}); or set I2S_CACHE to a folder that can be written to")

    def _fetched_into(self, target: Path, fetch: Fetch) -> Path:
        """Return `target` with the content; of many processes one fetches it, where files can be locked.

        What belongs to the fetching lies in a folder beside it. It stays if a process is killed, or the network fails
        while a part has come that can be continued: the next fetching does.
        """
        target.parent.mkdir(parents=True, exist_ok=True)
        with _locked(target.with_name(f"{target.name}.lock")) as alone:
            if not _is_whole(target, self.expected):
                own = "" if alone else f"-{os.getpid()}"
                working = target.with_name(f"{TEMPORARY_PREFIX}{target.name}{own}.d")
                working.mkdir(exist_ok=True)
                temporary = working / target.name
                try:
                    fetch(temporary)
                    _check_hash(self.origin or self.url, temporary, self.expected)
                    self._check_content(temporary)
                    temporary.replace(target)
                    shutil.rmtree(working, ignore_errors=True)
                finally:
                    temporary.unlink(missing_ok=True)
                    with suppress(OSError):  # it holds a part that can be continued, or is gone
                        working.rmdir()
        return target

    def _check_content(self, temporary: Path) -> None:
        if self.check is None:
            return
        try:
            self.check(temporary)
        except CheckpointError as error:
            reason = str(error).replace(str(temporary), "its content")
            what = self.origin or self.url
            raise CheckpointError(f"{what!r} is not cached: {reason}; give the right file") from error


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


def _download(url: str, path: Path, expected: str, rules: DownloadRules) -> None:
    """Fetch a file of a web server with pooch, which places it whole and checks a known hash.

    Its own downloader for HTTP follows any redirect, keeps any response and begins anew after each break: `get` takes
    its place. What pooch is given, and may log, is the url without secrets.
    """
    shown = without_secrets(url)
    if is_offline():
        raise WebFetchError(f"{shown!r} is not cached and {OFFLINE} is set: nothing is fetched; give a local file")
    import pooch  # it takes 0.3 s, and most files are cached

    def get(_: str, file: str, __: object) -> None:
        part = path.with_name(f"{path.name}.part")
        with DownloadBar(shown) as bar:
            ResumedDownload(url, part, rules, bar)()
        part.replace(file)

    pooch.get_logger().setLevel(logging.WARNING)
    whole_hash = f"sha256:{expected}" if len(expected) == _SHA256_DIGITS else None
    try:
        pooch.retrieve(shown, whole_hash, path.name, path.parent, downloader=get)
    except StorageError as error:
        raise WebFetchError(f"{error}; {_GIVE_A_FILE}") from error
    except ValueError as error:  # pooch's, of a hash; the file is gone
        raise CheckpointError(f"{shown!r} has another SHA-256 than {expected}; give the right file") from error
