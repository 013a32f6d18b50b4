"""The chunks of a WebP: those that its pixels need, and its orientation, in a file of the right length."""

from __future__ import annotations

import struct

from i2s_batch.images.read.bounded import MAX_PIECES
from i2s_batch.images.read.faults import BeyondLimitError

_HEADER = 12
_NEEDED = frozenset({b"VP8 ", b"VP8L", b"VP8X", b"ALPH", b"ANIM", b"ANMF", b"ICCP"})
_EXIF = b"EXIF"
_EXIF_FLAG, _XMP_FLAG = 0x08, 0x04  # of VP8X


def is_webp(data: bytes) -> bool:
    """Return whether `data` begins as a WebP."""
    return data.startswith(b"RIFF") and data[8:12] == b"WEBP"


def pixel_chunks(data: bytes) -> bytes:
    """Return a WebP without what its pixels do not need; a chunk of pixels that is cut off stays as it is."""
    kept, position = [], _HEADER
    for _ in range(MAX_PIECES):
        if position + 8 > len(data):
            break
        name, size = struct.unpack_from("<4sI", data, position)
        end = position + 8 + size + (size & 1)
        if name in _NEEDED or (name == _EXIF and end <= len(data)):
            kept.append((name, data[position:end]))
        position = end
    else:
        raise BeyondLimitError(f"it is in more than {MAX_PIECES} pieces; save it again")
    has_exif = any(name == _EXIF for name, _ in kept)
    dropped = _XMP_FLAG | (0 if has_exif else _EXIF_FLAG)
    chunks = b"".join(_without_flags(chunk, dropped) if name == b"VP8X" else chunk for name, chunk in kept)
    return b"RIFF" + struct.pack("<I", 4 + len(chunks)) + b"WEBP" + chunks


def _without_flags(chunk: bytes, flags: int) -> bytes:
    return chunk[:8] + bytes([chunk[8] & ~flags & 255]) + chunk[9:] if len(chunk) > 8 else chunk
