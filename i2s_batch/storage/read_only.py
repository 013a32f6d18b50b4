"""Defines a store that is only read: no run can have its OUT there."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import NoReturn

from i2s_batch.errors import StorageError
from i2s_batch.storage.store import Store
from i2s_batch.storage.urls import without_secrets


class ReadOnlyStore(Store):
    """Refuses every write in one line."""

    def check_can_write(self) -> None:
        """Raise StorageError."""
        self._refuse("")

    def put(self, key: str, data: bytes) -> None:
        """Raise StorageError."""
        self._refuse(key)

    def put_file(self, key: str, source: Path) -> None:
        """Raise StorageError."""
        self._refuse(key)

    def put_new(self, key: str, data: bytes) -> bool:
        """Raise StorageError."""
        self._refuse(key)

    def swap(self, key: str, expected: bytes, data: bytes) -> bool:
        """Raise StorageError."""
        self._refuse(key)

    def delete(self, keys: Iterable[str]) -> None:
        """Raise StorageError if there is a key."""
        for key in keys:
            self._refuse(key)

    def everything(self) -> Iterator[str]:
        """Yield every key."""
        return (info.key for info in self.list())

    def sweep(self, written: Callable[[str], bool]) -> None:
        """Do nothing: no writer has left anything behind."""

    def _refuse(self, key: str) -> NoReturn:
        scheme = self.url.partition("://")[0]
        raise StorageError(
            f"{without_secrets(self.uri(key))!r} cannot be written: {scheme}:// is only read; give a local path "
            "or s3://bucket/prefix"
        )
