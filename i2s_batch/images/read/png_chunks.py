"""The chunks of a PNG: those that its pixels need, without the ancillary ones that a decoder may refuse.

A text or profile that is too large, a wrong checksum or a short chunk beside the pixels says nothing of the pixels.
Checksums of what the pixels need (IHDR, PLTE, tRNS, IDAT) are left to the decoder.
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterator
from dataclasses import dataclass

from i2s_batch.images.read.bounded import MAX_PIECES
from i2s_batch.images.read.faults import BeyondLimitError

SIGNATURE = b"\x89PNG\r\n\x1a\n"
_NEEDED = frozenset({b"IHDR", b"PLTE", b"tRNS", b"IDAT", b"IEND"})
_MAX_PROFILE_BYTES = 16 * 2**20
_DEFLATED_AT_ONCE, _INFLATED_AT_ONCE = 1 << 16, 1 << 20
_CHANNELS = {0: 1, 2: 3, 3: 1, 4: 2, 6: 4}  # by colour type


@dataclass(frozen=True)
class PixelChunks:
    """Holds a PNG of only the chunks that its pixels need, and its ICC profile if that can be read."""

    data: bytes
    icc_profile: bytes | None


def _chunks(data: bytes) -> Iterator[tuple[bytes, int, int]]:
    """Yield the name of each chunk, where it begins, and where it ends; the last may end beyond the file."""
    position = len(SIGNATURE)
    for _ in range(MAX_PIECES):
        if position + 8 > len(data):
            return
        length, name = struct.unpack_from(">I4s", data, position)
        yield name, position, position + 12 + length
        position += 12 + length
    raise BeyondLimitError(f"it is in more than {MAX_PIECES} pieces; save it again")


def pixel_chunks(data: bytes) -> PixelChunks:
    """Return what the pixels of a PNG need; raise BeyondLimitError if it has too many chunks."""
    view = memoryview(data)
    kept, profile = [view[: len(SIGNATURE)]], None
    for name, start, end in _chunks(data):
        if name in _NEEDED:
            kept.append(view[start:end])
        elif end <= len(data) and _is_sound(view[start:end]):
            if name == b"eXIf":  # it says how the image is turned
                kept.append(view[start:end])
            elif name == b"iCCP" and profile is None:
                profile = _profile(data[start + 8 : end - 4])
        if name == b"IEND":
            break
    return PixelChunks(b"".join(kept), profile)


def _is_sound(chunk: memoryview) -> bool:
    return zlib.crc32(chunk[4:-4]) == int.from_bytes(chunk[-4:], "big")


def _profile(content: bytes) -> bytes | None:
    """Return the ICC profile in the content of an iCCP chunk; None if it is damaged or beyond the limit."""
    _, _, rest = content.partition(b"\0")
    inflater = zlib.decompressobj()
    try:
        profile = inflater.decompress(rest[1:], _MAX_PROFILE_BYTES)
    except zlib.error:
        return None
    return profile if inflater.eof else None


def missing_pixels(data: bytes) -> str:
    """Return how many rows of pixels a truncated PNG lacks; '' if none, or if the rows are interlaced."""
    width, height, depth, colour, *_, interlaced = struct.unpack_from(">IIBBBBB", data, 16)
    if interlaced or colour not in _CHANNELS:
        return ""
    row_bytes = 1 + (width * depth * _CHANNELS[colour] + 7) // 8
    rows = min(_inflated_bytes(data, row_bytes * height) // row_bytes, height)
    return f"{height - rows} of {height} rows are missing" if rows < height else ""


def _inflated_bytes(data: bytes, most: int) -> int:
    """Return how many bytes of pixels can be inflated before the data end or are damaged; about `most` at most."""
    inflater, total = zlib.decompressobj(), 0
    for name, start, end in _chunks(data):
        if name != b"IDAT":
            continue
        last = min(end - 4, len(data))
        for first in range(start + 8, last, _DEFLATED_AT_ONCE):
            waiting = data[first : min(first + _DEFLATED_AT_ONCE, last)]
            while waiting and total < most:
                try:
                    total += len(inflater.decompress(waiting, _INFLATED_AT_ONCE))
                except zlib.error:
                    return total
                waiting = inflater.unconsumed_tail
    return total
