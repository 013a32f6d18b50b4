"""Holds what files that are read at a position have in common, whatever their bytes come from."""

from __future__ import annotations

import io


class PositionedFile(io.RawIOBase):
    """Keeps the position of a seekable file of `size` bytes; a subclass reads from there and moves it."""

    def __init__(self, size: int) -> None:
        super().__init__()
        self.size = size
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
        origin = {io.SEEK_SET: 0, io.SEEK_CUR: self._position, io.SEEK_END: self.size}[whence]
        if origin + offset < 0:
            raise ValueError(f"the position {origin + offset} is before the beginning")
        self._position = origin + offset
        return self._position

    def readinto(self, buffer: memoryview) -> int:  # type: ignore[override]
        """Fill `buffer` and return the number of bytes, fewer at the end."""
        data = self.read(len(buffer))
        buffer[: len(data)] = data
        return len(data)
