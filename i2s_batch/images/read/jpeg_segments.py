"""The segments of a JPEG: what its pixels need, how many scans there are, and whether its pixels are all there.

Of a JPEG without its end marker libjpeg either refuses everything, or, given the marker, draws grey over what is
missing without a word. Whether anything is missing is found by decoding: bytes that follow complete pixels change
nothing, and bytes that follow incomplete ones are taken for pixels.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import islice

import numpy as np

from i2s_batch.images.read.bounded import MAX_PIECES
from i2s_batch.images.read.faults import BeyondLimitError, DamagedImageError

# Scans of a progressive JPEG. Each is a pass over all pixels and may be a few bytes long; encoders write about ten.
MAX_SCANS = 100
SIGNATURE = b"\xff\xd8\xff"

# A marker that is no stuffed byte, no fill byte and no restart.
_MARKER = re.compile(rb"\xff[^\x00\xff\xd0-\xd7]")
_END, _SCAN, _COMMENT = 0xD9, 0xDA, 0xFE
_JFIF, _EXIF, _ICC, _ADOBE = 0xE0, 0xE1, 0xE2, 0xEE
_APPLICATION = range(0xE0, 0xF0)
_ADOBE_BYTES = 16  # with its marker; a shorter one says nothing of the colours
_ICC_SEGMENTS = 255  # their numbers are bytes
_PROGRESSIVE = frozenset({0xC2, 0xC6, 0xCA, 0xCE})
_FRAMES = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}
_UNSUPPORTED_FRAMES = {0xC3: "lossless", 0xCB: "lossless"} | dict.fromkeys((*range(0xC5, 0xC8), 0xCD, 0xCE), "layered")

_END_MARKER = b"\xff\xd9"
# Bytes that become pixels where pixels are missing; a restart marker begins each interval of those JPEGs that use them.
_FILLERS = tuple(
    b"".join(filler + bytes((0xFF, restart)) for restart in range(0xD0, 0xD8)) + filler
    for filler in (bytes(range(1, 64)), bytes(range(200, 100, -1)))
)


@dataclass(frozen=True)
class Segment:
    """Holds the marker of a segment and the range of its bytes, with the marker."""

    marker: int
    start: int
    end: int


def segments(data: bytes) -> Iterator[Segment]:
    """Yield the segments of the first image of a JPEG file, up to its end marker; compressed pixels are passed over."""
    position = 2
    for _ in range(MAX_PIECES):
        marker = _MARKER.search(data, position)
        if marker is None:
            return
        code = data[marker.start() + 1]
        if code == _END:
            yield Segment(code, marker.start(), marker.end())
            return
        # A segment says how long it is; what it holds may look like markers.
        position = marker.end() + max(2, int.from_bytes(data[marker.end() : marker.end() + 2], "big"))
        yield Segment(code, marker.start(), position)
    raise BeyondLimitError(f"it is in more than {MAX_PIECES} pieces; save it again")


def has_end(data: bytes) -> bool:
    """Return whether a JPEG has its end marker."""
    return any(segment.marker == _END for segment in segments(data))


def count_scans(data: bytes) -> int:
    """Return how many scans the first image of a JPEG file has; those above the limit are not counted."""
    scans = (segment for segment in segments(data) if segment.marker == _SCAN)
    return sum(1 for _ in islice(scans, MAX_SCANS + 1))


def unsupported(data: bytes) -> str:
    """Return what a JPEG is that no decoder here knows, such as 'lossless'; '' for the usual ones."""
    frame = next((segment for segment in segments(data) if segment.marker in _FRAMES), None)
    if frame is None or frame.start + 4 >= len(data):
        return ""
    if frame.marker in _UNSUPPORTED_FRAMES:
        return str(_UNSUPPORTED_FRAMES[frame.marker])
    bits = data[frame.start + 4]
    return "" if bits == 8 else f"of {bits} bits a sample"


def without_ancillary(data: bytes) -> bytes:
    """Return a JPEG without comments and application data but what its colours and its orientation need."""
    view, kept, last = memoryview(data), [], 0
    profiles = exifs = 0
    for segment in segments(data):
        if segment.marker in (_SCAN, _END):
            break
        content = data[segment.start + 4 : min(segment.start + 16, segment.end)]
        is_profile = segment.marker == _ICC and content.startswith(b"ICC_PROFILE\0") and profiles < _ICC_SEGMENTS
        is_exif = segment.marker == _EXIF and content.startswith(b"Exif\0") and not exifs
        profiles, exifs = profiles + is_profile, exifs + is_exif
        ancillary = segment.marker == _COMMENT or segment.marker in _APPLICATION
        is_colours = segment.marker == _ADOBE and segment.end - segment.start >= _ADOBE_BYTES
        if ancillary and not (is_profile or is_exif or is_colours or segment.marker == _JFIF):
            kept.append(view[last : segment.start])
            last = segment.end
    return b"".join([*kept, view[last:]])


def decode_without_end(data: bytes, decode: Callable[[bytes], np.ndarray]) -> np.ndarray:
    """Return the pixels of a JPEG that lacks its end marker, decoded by `decode`; else raise DamagedImageError."""
    data = data.removesuffix(b"\xff")
    pixels = decode(data + _END_MARKER)
    height = len(pixels)
    for filler in _FILLERS:
        differs = (decode(data + filler + _END_MARKER) != pixels).any((1, 2))
        if differs.any():
            row = int(differs.argmax())
            raise DamagedImageError(f"it is truncated: about {height - row} of {height} rows are missing")
    if not _is_refined(data):
        raise DamagedImageError("it is truncated: its last scans, which hold the details of all rows, are missing")
    return pixels


def _is_refined(data: bytes) -> bool:
    """Return whether the scans of a JPEG hold every bit of every coefficient."""
    progressive, expected, exact = False, 0, set()
    for segment in segments(data):
        content = data[segment.start + 4 : segment.end]
        if segment.marker in _FRAMES and len(content) > 5:
            progressive, expected = segment.marker in _PROGRESSIVE, content[5]
        elif segment.marker == _SCAN and len(content) >= 4 + 2 * content[0]:
            components = content[1 : 1 + 2 * content[0] : 2]
            first, last, bits = content[1 + 2 * content[0] :][:3]
            coefficients = range(first, min(last, 63) + 1) if progressive else range(64)
            if not progressive or bits & 15 == 0:
                exact |= {(component, number) for component in components for number in coefficients}
    return len(exact) == 64 * expected
