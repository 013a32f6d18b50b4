"""Reads objects of other clouds through fsspec: Google Cloud Storage, Azure, the Hugging Face Hub.

fsspec comes with torch; each cloud needs a package of its own (the extra `clouds`), which takes the credentials where
that cloud's other programs do. An S3 bucket is not read this way: a run writes there, and needs conditional writes.
"""

from __future__ import annotations

import importlib
import logging
import sys
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import Any, BinaryIO, cast

from i2s_batch.errors import ObjectNotFoundError, ObjectUnreadableError, StorageError
from i2s_batch.storage.read_only import ReadOnlyStore
from i2s_batch.storage.store import ObjectInfo
from i2s_batch.storage.urls import hide_secrets

_IN_MEMORY_BYTES = 64 * 2**20  # of a list; a larger one goes through a temporary file
_PART_BYTES = 8 * 2**20


@dataclass(frozen=True)
class _Cloud:
    """Describes what a cloud needs: its package, and what its libraries raise, as "module:class"."""

    package: str
    credentials: str
    errors: tuple[str, ...] = ()


_CLOUDS = {
    "gs": _Cloud(
        "gcsfs",
        "GOOGLE_APPLICATION_CREDENTIALS or `gcloud auth application-default login`",
        ("gcsfs.retry:HttpError", "google.auth.exceptions:GoogleAuthError", "aiohttp:ClientError"),
    ),
    "az": _Cloud(
        "adlfs",
        "AZURE_STORAGE_CONNECTION_STRING, or AZURE_STORAGE_ACCOUNT_NAME with AZURE_STORAGE_ACCOUNT_KEY",
        ("azure.core.exceptions:AzureError", "aiohttp:ClientError"),
    ),
    "hf": _Cloud(
        "huggingface_hub",
        "HF_TOKEN",
        # Its releases use one or another library for HTTP.
        (
            "httpx:HTTPError",
            "httpx2:HTTPError",
            "requests:RequestException",
            "huggingface_hub.errors:HFValidationError",
        ),
    ),
}
_LOUD = ("gcsfs", "adlfs", "azure", "huggingface_hub", "fsspec")
_OTHER = _Cloud("fsspec", "the settings of that file system")


def open_file_system(url: str) -> FileSystemStore:
    """Return the store at a url such as `gs://bucket/prefix`; a '/' at the end makes no difference."""
    scheme, _, path = url.partition("://")
    if not path.strip("/"):
        raise StorageError(f"{url!r} names no bucket; give {scheme}://bucket/prefix")
    return FileSystemStore(scheme, f"{path.rstrip('/')}/")


@dataclass(frozen=True)
class FileSystemStore(ReadOnlyStore):
    """Reads the objects whose paths in fsspec's file system of a `scheme` begin with `prefix`, which ends in '/'."""

    scheme: str
    prefix: str

    @property
    def url(self) -> str:
        """Return the url, without a '/' at the end."""
        return f"{self.scheme}://{self.prefix}".rstrip("/")

    def uri(self, key: str) -> str:
        """Return the url of an object."""
        return f"{self.scheme}://{self.prefix}{key}"

    def get(self, key: str, limit_bytes: int | None = None) -> bytes:
        """Return the bytes of an object."""
        uri, path = self.uri(key), self.prefix + key
        with self._errors(uri):
            files = self._files()
            if limit_bytes is not None and (size := files.size(path) or 0) > limit_bytes:
                raise ObjectUnreadableError(f"{uri!r} has {size} bytes; the limit is {limit_bytes}")
            return bytes(files.cat_file(path))

    def get_part(self, key: str, start: int, stop: int) -> bytes:
        """Return a part of an object with one request."""
        with self._errors(self.uri(key)):
            return bytes(self._files().cat_file(self.prefix + key, start=start, end=stop))

    def open(self, key: str) -> BinaryIO:
        """Open an object as a seekable file: a copy of it, so that all that is read belongs to one version."""
        with self._errors(self.uri(key)), ExitStack() as opened:
            path = self.prefix + key
            file = opened.enter_context(self._files().open(path, "rb", block_size=_PART_BYTES, cache_type="readahead"))
            copy = opened.enter_context(tempfile.SpooledTemporaryFile(_IN_MEMORY_BYTES))
            while part := file.read(_PART_BYTES):
                copy.write(part)
            copy.seek(0)
            opened.pop_all()  # the caller closes the copy
            file.close()
        return cast("BinaryIO", copy)

    def etag(self, key: str) -> str:
        """Return a short text that changes when the object's content does."""
        with self._errors(self.uri(key)):
            return str(self._files().ukey(self.prefix + key))

    def list(self, prefix: str = "") -> Iterator[ObjectInfo]:
        """Yield the objects whose keys begin with `prefix`, sorted."""
        # The folder, not the prefix: not every file system finds names that begin with a text.
        folder = f"{self.prefix}{prefix}".rpartition("/")[0]
        with self._errors(f"{self.scheme}://{folder}"):
            found = self._files().find(folder, detail=True)
        objects = [(name.strip("/").removeprefix(self.prefix), info) for name, info in found.items()]
        objects = [(key, info) for key, info in objects if key.startswith(prefix) and info.get("type") == "file"]
        for key, info in sorted(objects, key=lambda each: each[0].encode("utf-8", "surrogateescape")):
            yield ObjectInfo(key, info.get("size") or 0)

    def _files(self) -> Any:
        """Return fsspec's file system, of which there is one a process and thread."""
        import fsspec

        for library in _LOUD:  # they log what they raise, with tracebacks
            logging.getLogger(library).addHandler(logging.NullHandler())
        return fsspec.filesystem(self.scheme, use_listings_cache=False)

    @contextmanager
    def _errors(self, uri: str) -> Iterator[None]:
        """Turn the errors of a file system into a StorageError that names `uri`."""
        cloud = _CLOUDS.get(self.scheme, _OTHER)
        try:
            yield
        except ImportError as error:
            raise StorageError(
                f"{uri!r}: {self.scheme}:// needs the package {cloud.package}; install 'i2s_batch[clouds]'"
            ) from error
        except (FileNotFoundError, IsADirectoryError) as error:
            raise ObjectNotFoundError(f"{uri!r} does not exist") from error
        except _loaded(cloud.errors) as error:
            reason = hide_secrets(" ".join(str(error).split())) or type(error).__name__
            advice = f"check the url, the network and {cloud.credentials}"
            raise StorageError(f"{uri!r} cannot be read: {reason[:300]}; {advice}") from error


def _loaded(names: tuple[str, ...]) -> tuple[type[Exception], ...]:
    """Return the classes of errors by their names, those of packages that are in use, and Python's own."""
    found: list[type[Exception]] = [OSError, ValueError]
    for name in names:
        module, _, kind = name.partition(":")
        if module.partition(".")[0] in sys.modules:  # what is not imported has raised nothing
            found.append(getattr(importlib.import_module(module), kind))
    return tuple(found)
