"""Defines the interface of a store of objects, which `local` and `s3` implement."""

from __future__ import annotations

import hashlib
import uuid
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from i2s_batch.errors import ObjectUnreadableError, StorageError

__all__ = ["PROBES", "ObjectInfo", "ObjectUnreadableError", "Store"]

PROBES = (b"first", b"second")  # what `check_writable` writes


@dataclass(frozen=True)
class ObjectInfo:
    """Describes one object of a listing: its key relative to the store, its size in bytes."""

    key: str
    size: int


class Store(ABC):
    """Stores objects under one root, by relative keys with '/' between the parts.

    A store is a small value: it can be pickled, opened again in any process, and used by many threads.
    Every method raises StorageError with one line that names the object.
    """

    @property
    @abstractmethod
    def url(self) -> str:
        """Return the root: an absolute local path, or `s3://bucket/prefix`."""

    @abstractmethod
    def uri(self, key: str) -> str:
        """Return the full path or url of an object."""

    @abstractmethod
    def get(self, key: str, limit_bytes: int | None = None) -> bytes:
        """Return the whole object.

        Raises:
            ObjectNotFoundError: It does not exist.
            ObjectUnreadableError: It is larger than `limit_bytes`, or cannot be read.
        """

    @abstractmethod
    def open(self, key: str) -> BinaryIO:
        """Open the object as a seekable file, so that parts of it can be read without the rest; errors as `get`.

        All that is read from it belongs to one version: if the object is replaced meanwhile, it is the old one,
        or reading raises StorageError.
        """

    def get_part(self, key: str, start: int, stop: int) -> bytes:
        """Return the bytes `start` to `stop` of an object, fewer where it ends before; errors as `get`."""
        with self.open(key) as file:
            file.seek(start)
            return file.read(stop - start)

    def etag(self, key: str) -> str:
        """Return a short text that changes when the object's content does; errors as `get`."""
        return hashlib.sha256(self.get(key)).hexdigest()

    @abstractmethod
    def put(self, key: str, data: bytes) -> None:
        """Write an object, whole or not at all, over whatever was there; durable on return."""

    @abstractmethod
    def put_file(self, key: str, source: Path) -> None:
        """Write the bytes of a local file as `put` does, without holding all of them in memory."""

    def put_chunks(self, key: str, chunks: Iterable[bytes]) -> None:
        """Write an object of many chunks as `put` does; what `chunks` raises leaves the object as it was.

        A store that can do so holds only a few of the chunks in memory; this one joins them.
        """
        self.put(key, b"".join(chunks))

    def put_new_chunks(self, key: str, chunks: Iterable[bytes]) -> bool:
        """Create an object of many chunks; return False, with nothing written, if the key is taken by then.

        As `put_new` otherwise, and what `chunks` raises leaves the object as it was.
        """
        return self.put_new(key, b"".join(chunks))

    def discard_unfinished(self, prefix: str) -> None:  # noqa: B027 - most stores have nothing of the kind
        """Remove what killed callers of `put_chunks` left under `prefix` that `sweep` cannot find.

        To be called only while nobody else writes there.
        """

    def put_all(self, objects: Mapping[str, bytes]) -> None:
        """Write several objects, by key; all are durable on return. If it fails, some may have been written."""
        for key, data in objects.items():
            self.put(key, data)

    @abstractmethod
    def put_new(self, key: str, data: bytes) -> bool:
        """Create an object; return False if the key is taken. Of many concurrent calls exactly one returns True.

        `data` must hold something that only this caller writes (a random id): on S3 the response to a successful create
        can be lost, and the retry is then distinguished from a defeat by the bytes.
        """

    @abstractmethod
    def swap(self, key: str, expected: bytes, data: bytes) -> bool:
        """Replace `expected` by `data`; return False if the object holds anything else or does not exist.

        Of many concurrent swaps from the same `expected` exactly one returns True, if `data` is as in `put_new`.
        It guards against other swaps, not against a plain `put`.
        """

    @abstractmethod
    def list(self, prefix: str = "") -> Iterator[ObjectInfo]:
        """Yield every object whose key begins with `prefix`, however deep, sorted by the key's UTF-8 bytes."""

    @abstractmethod
    def delete(self, keys: Iterable[str]) -> None:
        """Remove objects; a key that does not exist is no error."""

    @abstractmethod
    def everything(self) -> Iterator[str]:
        """Yield the key of everything but folders, as it is found, also of what `list` leaves out.

        That is temporary files, links that lead nowhere, devices. Links are not followed.
        """

    @abstractmethod
    def sweep(self, written: Callable[[str], bool]) -> None:
        """Remove what killed writers left behind, in the folders below the root for which `written` is true.

        '' is the root. To be called only while nobody else writes here.
        """

    can_list = True  # whether `list` works

    def check_can_write(self) -> None:  # noqa: B027 - most stores can be written
        """Raise StorageError if the store is of a kind that is only read. Touches nothing."""

    def check_writable(self) -> None:
        """Check early that objects can be created here, and exclusively. Leaves nothing behind."""
        key = f"work/probe-{uuid.uuid4().hex}"
        first, second = PROBES
        created = self.put_new(key, first)
        try:
            exclusive = not self.put_new(key, second)
        finally:
            self.delete([key])
        if not (created and exclusive):
            raise StorageError(
                f"{self.url!r} ignores conditional writes, so two runs could not be kept apart; "
                "use a store that honours If-None-Match"
            )
