"""The blocks of a GIF before its first frame: a comment there may be so large that a decoder refuses the file."""

from __future__ import annotations

from i2s_batch.images.read.bounded import MAX_PIECES
from i2s_batch.images.read.faults import BeyondLimitError

_COMMENT, _TEXT, _APPLICATION = 0xFE, 0x01, 0xFF
_EXTENSION = 0x21
_SKIPPED = frozenset({_COMMENT, _TEXT, _APPLICATION})


def without_comments(data: bytes) -> bytes:
    """Return a GIF without the comments before its first frame; raise BeyondLimitError if they have too many blocks."""
    flags = data[10]
    position = 13 + (3 << ((flags & 7) + 1) if flags & 0x80 else 0)
    kept, blocks = [data[:position]], 0
    while data[position] == _EXTENSION:
        start, label = position, data[position + 1]
        position += 2
        while size := data[position]:
            position, blocks = position + 1 + size, blocks + 1
            if blocks > MAX_PIECES:
                raise BeyondLimitError(f"it is in more than {MAX_PIECES} pieces; save it again")
        position += 1
        if label not in _SKIPPED:
            kept.append(data[start:position])
    return b"".join([*kept, data[position:]])
