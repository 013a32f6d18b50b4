"""Reads a file in blocks, for readers that take some hundred bytes at a time and skip what lies between."""

from __future__ import annotations

import io
from typing import BinaryIO

from i2s_batch.sources.names import path_of_uri
from i2s_batch.storage import is_remote, open_store, split_url
from i2s_batch.storage.local import open_regular
from i2s_batch.storage.positioned_file import PositionedFile

MOST_AT_ONCE = 256 << 20  # bytes of one read: what a header announces may be a lie
# A request to a store takes as long as the transfer of some MB, so that smaller gaps are read rather than skipped.
_REMOTE_BLOCK = 1 << 20
_LOCAL_BLOCK = 1 << 14


class TooMuchAtOnceError(ValueError):
    """Reports a header that announces more bytes than any real one has."""


class BlockFile(PositionedFile):
    """Reads a seekable file whose last block stays in memory. Not for several threads."""

    def __init__(self, file: BinaryIO, block_bytes: int, most_at_once: int = MOST_AT_ONCE) -> None:
        super().__init__(file.seek(0, io.SEEK_END))
        self._file, self._block_bytes, self._most = file, block_bytes, most_at_once
        self._start, self._block = 0, b""

    def read(self, size: int | None = -1) -> bytes:
        """Return `size` bytes, fewer at the end; raise TooMuchAtOnceError for more than one may ask for."""
        rest = max(0, self.size - self._position)
        wanted = rest if size is None or size < 0 else min(size, rest)
        if wanted > self._most:
            raise TooMuchAtOnceError(f"a header of {wanted} bytes is announced; the limit is {self._most}")
        inside = self._position - self._start
        if not (inside >= 0 and inside + wanted <= len(self._block)):
            self._file.seek(self._position)
            self._start, self._block, inside = self._position, _read(self._file, max(wanted, self._block_bytes)), 0
        data = self._block[inside : inside + wanted]
        self._position += len(data)
        return data

    def close(self) -> None:
        """Close the file."""
        self._file.close()
        super().close()


def _read(file: BinaryIO, size: int) -> bytes:
    """Return `size` bytes, fewer at the end alone: an unbuffered file may return fewer at once."""
    parts = []
    while size and (part := file.read(size)):
        parts.append(part)
        size -= len(part)
    return b"".join(parts)


def open_blocks(uri: str, most_at_once: int = MOST_AT_ONCE) -> BlockFile:
    """Open the file at a uri, local or in a store."""
    if is_remote(uri):
        root, key = split_url(uri)
        return BlockFile(open_store(root).open(key), _REMOTE_BLOCK, most_at_once)
    return BlockFile(open_regular(path_of_uri(uri)), _LOCAL_BLOCK, most_at_once)
