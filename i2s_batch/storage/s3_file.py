"""Reads an S3 object as a seekable file: parts are fetched when they are read, the whole object never."""

from __future__ import annotations

import io
from collections.abc import Callable

TAIL_BYTES = 1 << 16  # of the end of an object, fetched when it is opened: the footer of a shard is 20 KB


class RangedFile(io.RawIOBase):
    """Reads an object of `size` bytes whose last ones, `tail`, are in memory; `fetch(start, stop)` gets others."""

    def __init__(self, tail: bytes, size: int, fetch: Callable[[int, int], bytes]) -> None:
        super().__init__()
        self._tail, self._size, self._fetch = tail, size, fetch
        self._position = 0

    def readable(self) -> bool:
        """Return True."""
        return True

    def seekable(self) -> bool:
        """Return True."""
        return True

    def tell(self) -> int:
        """Return the position, in bytes."""
        return self._position

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        """Set the position and return it."""
        origin = {io.SEEK_SET: 0, io.SEEK_CUR: self._position, io.SEEK_END: self._size}[whence]
        if origin + offset < 0:
            raise ValueError(f"the position {origin + offset} is before the beginning")
        self._position = origin + offset
        return self._position

    def read(self, size: int | None = -1) -> bytes:
        """Return `size` bytes, fewer at the end; by default all that is left."""
        rest = max(0, self._size - self._position)
        start, stop = self._position, self._position + (rest if size is None or size < 0 else min(size, rest))
        if start == stop:
            return b""
        in_tail = start - (self._size - len(self._tail))
        data = self._tail[in_tail : in_tail + stop - start] if in_tail >= 0 else self._fetch(start, stop)
        self._position = stop
        return data

    def readall(self) -> bytes:
        """Return all that is left."""
        return self.read()

    def readinto(self, buffer: memoryview) -> int:  # type: ignore[override]
        """Fill `buffer` and return the number of bytes, fewer at the end."""
        data = self.read(len(buffer))
        buffer[: len(data)] = data
        return len(data)
