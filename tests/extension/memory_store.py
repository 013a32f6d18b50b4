"""A store of another program: objects in the memory of this process, at urls such as memory://root/prefix."""

from __future__ import annotations

import io
import threading
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from i2s_batch.errors import ObjectNotFoundError
from i2s_batch.storage import ObjectInfo, Store, split_url
from i2s_batch.storage.schemes import Scheme
from i2s_batch.storage.store import ObjectUnreadableError

_objects: dict[str, bytes] = {}  # by url
_lock = threading.Lock()


@dataclass(frozen=True)
class MemoryStore(Store):
    root: str
    prefix: str = ""

    @property
    def url(self) -> str:
        return f"{self.root}/{self.prefix}".rstrip("/")

    def uri(self, key: str) -> str:
        return f"{self.root}/{self.prefix}{key}"

    def get(self, key: str, limit_bytes: int | None = None) -> bytes:
        data = _objects.get(self.uri(key))
        if data is None:
            raise ObjectNotFoundError(f"{self.uri(key)!r}: it does not exist")
        if limit_bytes is not None and len(data) > limit_bytes:
            raise ObjectUnreadableError(f"{self.uri(key)!r} has {len(data)} bytes; the limit is {limit_bytes}")
        return data

    def open(self, key: str) -> BinaryIO:
        return io.BytesIO(self.get(key))

    def put(self, key: str, data: bytes) -> None:
        with _lock:
            _objects[self.uri(key)] = data

    def put_file(self, key: str, source: Path) -> None:
        self.put(key, source.read_bytes())

    def put_new(self, key: str, data: bytes) -> bool:
        with _lock:
            return _objects.setdefault(self.uri(key), data) is data

    def swap(self, key: str, expected: bytes, data: bytes) -> bool:
        with _lock:
            if _objects.get(self.uri(key)) != expected:
                return False
            _objects[self.uri(key)] = data
            return True

    def list(self, prefix: str = "") -> Iterator[ObjectInfo]:
        base = self.uri("")
        found = [(url.removeprefix(base), len(data)) for url, data in _objects.items() if url.startswith(base + prefix)]
        yield from (ObjectInfo(key, size) for key, size in sorted(found, key=lambda item: item[0].encode()))

    def delete(self, keys: Iterable[str]) -> None:
        with _lock:
            for key in keys:
                _objects.pop(self.uri(key), None)

    def everything(self) -> Iterator[str]:
        return (info.key for info in self.list())

    def sweep(self, written: Callable[[str], bool]) -> None:
        """Nothing is ever left half-written."""


def open_memory(url: str) -> Store:
    root, key = split_url(url)
    return MemoryStore(root, f"{key.rstrip('/')}/" if key else "")


MEMORY = Scheme("memory", "Objects in memory.", "tests.extension.memory_store:open_memory", "memory://root/prefix")
