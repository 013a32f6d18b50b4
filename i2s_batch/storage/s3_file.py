"""Reads an S3 object as a seekable file: parts are fetched when they are read, the whole object never."""

from __future__ import annotations

from collections.abc import Callable

from i2s_batch.storage.positioned_file import PositionedFile

TAIL_BYTES = 1 << 16  # of the end of an object, fetched when it is opened: the footer of a shard is 20 KB


class RangedFile(PositionedFile):
    """Reads an object of `size` bytes whose last ones, `tail`, are in memory; `fetch(start, stop)` gets others."""

    def __init__(self, tail: bytes, size: int, fetch: Callable[[int, int], bytes]) -> None:
        super().__init__(size)
        self._tail, self._fetch = tail, fetch

    def read(self, size: int | None = -1) -> bytes:
        """Return `size` bytes, fewer at the end; by default all that is left."""
        rest = max(0, self.size - self._position)
        start, stop = self._position, self._position + (rest if size is None or size < 0 else min(size, rest))
        if start == stop:
            return b""
        in_tail = start - (self.size - len(self._tail))
        data = self._tail[in_tail : in_tail + stop - start] if in_tail >= 0 else self._fetch(start, stop)
        self._position = stop
        return data

    def readall(self) -> bytes:
        """Return all that is left."""
        return self.read()
