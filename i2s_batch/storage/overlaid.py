"""Lays objects in memory over a store: readers see both as one, and can write nothing."""

from __future__ import annotations

import io
from collections.abc import Iterator, Mapping
from typing import BinaryIO, NoReturn

from i2s_batch.errors import ObjectUnreadableError, StorageError
from i2s_batch.storage.read_only import ReadOnlyStore
from i2s_batch.storage.store import ObjectInfo, Store


class OverlaidStore(ReadOnlyStore):
    """Presents the store `below` with the objects `held`, by key, in place of its own of the same keys."""

    def __init__(self, below: Store, held: Mapping[str, bytes]) -> None:
        self.below, self.held = below, held

    @property
    def url(self) -> str:
        """Return the root of the store below."""
        return self.below.url

    def uri(self, key: str) -> str:
        """Return the name that the object has, or would have, in the store below."""
        return self.below.uri(key)

    def get(self, key: str, limit_bytes: int | None = None) -> bytes:
        """Return the whole object."""
        data = self.held.get(key)
        if data is None:
            return self.below.get(key, limit_bytes)
        if limit_bytes is not None and len(data) > limit_bytes:
            raise ObjectUnreadableError(f"{self.uri(key)!r} has {len(data)} bytes; the limit is {limit_bytes}")
        return data

    def open(self, key: str) -> BinaryIO:
        """Open the object as a seekable file."""
        data = self.held.get(key)
        return self.below.open(key) if data is None else io.BytesIO(data)

    def list(self, prefix: str = "") -> Iterator[ObjectInfo]:
        """Yield every object of both, sorted by the key's UTF-8 bytes."""
        found = {info.key: info for info in self.below.list(prefix)}
        found |= {key: ObjectInfo(key, len(data)) for key, data in self.held.items() if key.startswith(prefix)}
        yield from (found[key] for key in sorted(found, key=str.encode))

    def everything(self) -> Iterator[str]:
        """Yield the key of everything, as the store below finds it, and of what is held."""
        yield from dict.fromkeys((*self.below.everything(), *self.held))

    def _refuse(self, key: str) -> NoReturn:
        raise StorageError(f"{self.uri(key)!r} is open for reading only; write to {self.url!r} itself")
