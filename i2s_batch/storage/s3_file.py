"""An S3 object as a seekable file: parts are fetched when they are read, the whole object never."""

from __future__ import annotations

import io
from collections.abc import Callable

TAIL_BYTES = 1 << 16  # the end of an object comes with its opening: the footer of a shard is 20 KB


class RangedFile(io.RawIOBase):
    """An object of `size` bytes whose last ones, `tail`, are here; `fetch(start, stop)` gets others."""

    def __init__(self, tail: bytes, size: int, fetch: Callable[[int, int], bytes]) -> None:
        super().__init__()
        self._tail, self._size, self._fetch = tail, size, fetch
        self._position = 0

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def tell(self) -> int:
        return self._position

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        origin = {io.SEEK_SET: 0, io.SEEK_CUR: self._position, io.SEEK_END: self._size}[whence]
        if origin + offset < 0:
            raise ValueError(f"the position {origin + offset} is before the beginning")
        self._position = origin + offset
        return self._position

    def read(self, size: int | None = -1) -> bytes:
        """`size` bytes, fewer at the end; all that is left by default."""
        rest = max(0, self._size - self._position)
        start, stop = self._position, self._position + (rest if size is None or size < 0 else min(size, rest))
        if start == stop:
            return b""
        in_tail = start - (self._size - len(self._tail))
        data = self._tail[in_tail : in_tail + stop - start] if in_tail >= 0 else self._fetch(start, stop)
        self._position = stop
        return data

    def readall(self) -> bytes:
        return self.read()

    def readinto(self, buffer: memoryview) -> int:  # type: ignore[override]
        data = self.read(len(buffer))
        buffer[: len(data)] = data
        return len(data)
