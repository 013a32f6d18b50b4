"""The pages of a TIFF: which one is the image itself, and whether the file is a camera raw file.

Of a TIFF a decoder shows the first page, which may be a thumbnail: the image is then a later page or a SubIFD. Camera
raw files are TIFFs too, whose pages that a decoder knows are previews. A page is opened by a header that points at it.
"""

from __future__ import annotations

import re
import struct
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

_MAX_PAGES = 1000

NEW_SUBFILE_TYPE, SUBFILE_TYPE, WIDTH, HEIGHT, BITS, COMPRESSION, PHOTOMETRIC = 254, 255, 256, 257, 258, 259, 262
STRIP_OFFSETS, STRIP_BYTES, PLANAR, TILE_OFFSETS, TILE_BYTES, SUB_IFDS, SAMPLE_FORMAT = (
    273,
    279,
    284,
    324,
    325,
    330,
    339,
)
_DNG_VERSION = 50706
_TAGS = frozenset({NEW_SUBFILE_TYPE, SUBFILE_TYPE, WIDTH, HEIGHT, BITS, COMPRESSION, PHOTOMETRIC, SUB_IFDS})
_TAGS |= {SAMPLE_FORMAT, _DNG_VERSION}
_STRIP_TAGS = frozenset({STRIP_OFFSETS, STRIP_BYTES, TILE_OFFSETS, TILE_BYTES})
_MAX_VALUES, _MAX_STRIPS = 64, 1 << 20  # read of a tag

_REDUCED_OR_MASK = 1 | 4  # bits of NewSubfileType
_REDUCED = 2  # of the older SubfileType
_SENSOR = frozenset({32803, 34892})  # photometric interpretations: colour filter array, linear raw
_RAW_COMPRESSIONS = frozenset({32767, 32770, 34713, 65000, 65535})  # Sony, Samsung, Nikon, Kodak, Pentax
_PHASE_ONE = re.compile(rb"IIII.waR|MMMMRaw.", re.DOTALL)  # what its raw files hold after the header
_TYPES = {1: "u1", 3: "u2", 4: "u4", 13: "u4", 16: "u8", 18: "u8"}  # unsigned ones, as NumPy names them


@dataclass(frozen=True)
class Page:
    """Holds where a page's directory is, its tags that are whole numbers, and where the next page's directory is."""

    offset: int
    tags: dict[int, tuple[int, ...]]
    following: int

    def tag(self, number: int, default: int) -> int:
        """Return the first value of a tag."""
        return next(iter(self.tags.get(number, ())), default)

    @property
    def is_reduced(self) -> bool:
        """Return whether the page says that it is a thumbnail or a mask."""
        return bool(self.tag(NEW_SUBFILE_TYPE, 0) & _REDUCED_OR_MASK) or self.tag(SUBFILE_TYPE, 0) == _REDUCED

    @property
    def is_raw(self) -> bool:
        """Return whether the page says that its file comes from a camera's sensor."""
        codes = (self.tag(PHOTOMETRIC, -1) in _SENSOR, self.tag(COMPRESSION, -1) in _RAW_COMPRESSIONS)
        return any(codes) or _DNG_VERSION in self.tags

    @property
    def pixels(self) -> int:
        """Return the number of pixels."""
        return self.tag(WIDTH, 0) * self.tag(HEIGHT, 0)


class Directories:
    """Reads the directories of a TIFF or BigTIFF, of either byte order, of each tag the first `most` values."""

    def __init__(self, data: bytes, wanted: frozenset[int] = _TAGS, most: int = _MAX_VALUES) -> None:
        self._data, self._wanted, self._most = data, wanted, most
        self.order = ">" if data[:1] == b"M" else "<"
        self.big = 43 in data[2:4]
        self.first = self._number("Q", 8) if self.big else self._number("I", 4)

    def _number(self, kind: str, position: int) -> int:
        return int(struct.unpack_from(self.order + kind, self._data, position)[0])

    def pages(self) -> Iterator[Page]:
        """Yield the pages in their order, up to one that lies outside the file."""
        seen: set[int] = set()
        offset = self.first
        while offset and offset not in seen and len(seen) < _MAX_PAGES:
            seen.add(offset)
            try:
                page = self.page(offset)
            except struct.error:
                return
            yield page
            offset = page.following

    def sub_pages(self, page: Page) -> Iterator[Page]:
        """Yield the pages below a page, without those that lie outside the file."""
        for offset in page.tags.get(SUB_IFDS, ()):
            try:
                yield self.page(offset)
            except struct.error:
                continue

    def page(self, offset: int) -> Page:
        """Return the page whose directory is at `offset`; struct.error if that lies outside the file."""
        count, start, size = (
            (self._number("Q", offset), offset + 8, 20) if self.big else (self._number("H", offset), offset + 2, 12)
        )
        following = self._number("Q" if self.big else "I", start + count * size)
        tags = {}
        for entry in range(start, start + count * size, size):
            number, kind = struct.unpack_from(self.order + "HH", self._data, entry)
            if number in self._wanted and kind in _TYPES:
                tags[number] = self._values(entry, kind)
        return Page(offset, tags, following)

    def _values(self, entry: int, kind: int) -> tuple[int, ...]:
        number, inline = ("Q", 8) if self.big else ("I", 4)
        count, position = self._number(number, entry + 4), entry + 4 + inline
        what = np.dtype(self.order + _TYPES[kind])
        if count * what.itemsize > inline:
            position = self._number(number, position)
        if position + count * what.itemsize > len(self._data):
            return ()
        return tuple(np.frombuffer(self._data, what, min(count, self._most), position).tolist())

    def opened_at(self, page: Page) -> bytes:
        """Return the file with a header that points at `page`."""
        if page.offset == self.first:
            return self._data
        start, kind = (8, "Q") if self.big else (4, "I")
        header = self._data[:start] + struct.pack(self.order + kind, page.offset)
        return header + self._data[len(header) :]


def _all_pages(data: bytes) -> list[Page]:
    """Return the pages of a TIFF, then those below them; none if its header is cut off."""
    try:
        directories = Directories(data)
    except struct.error:
        return []
    pages = list(directories.pages())
    return pages + [below for page in pages for below in directories.sub_pages(page)]


def is_camera_raw(data: bytes) -> bool:
    """Return whether a TIFF holds what a camera's sensor saw, of which a decoder would show the preview."""
    return _PHASE_ONE.match(data, 8) is not None or any(page.is_raw for page in _all_pages(data))


def full_page(data: bytes) -> bytes:
    """Return a TIFF such that its first page is the image itself, not a thumbnail."""
    pages = _all_pages(data)
    if not pages or not pages[0].is_reduced:
        return data
    full = [page for page in pages if not page.is_reduced and page.pixels]
    return Directories(data).opened_at(full[0] if full else max(pages, key=lambda page: page.pixels))


def unsupported(data: bytes, compressions: Sequence[int]) -> str:
    """Return what a TIFF is whose header no decoder here knows; '' for one that has no readable page."""
    try:
        page = next(Directories(data).pages(), None)
    except struct.error:
        return ""
    if page is None or not page.pixels:
        return ""
    if (compression := page.tag(COMPRESSION, 1)) not in compressions:
        return f"its compression is {compression}"
    names = (("photometric interpretation", PHOTOMETRIC), ("bits a sample", BITS), ("sample format", SAMPLE_FORMAT))
    values = [f"{name} {' '.join(map(str, page.tags.get(tag, ())[:8])) or 'not given'}" for name, tag in names]
    return f"its pixels are of a rare kind ({', '.join(values)})"


def missing_bytes(data: bytes) -> int:
    """Return how many bytes of the first page's pixels lie beyond the end of the file."""
    page = next(Directories(data, _STRIP_TAGS, _MAX_STRIPS).pages(), None)
    if page is None:
        return 0
    ends = [
        offset + size
        for offsets, sizes in ((STRIP_OFFSETS, STRIP_BYTES), (TILE_OFFSETS, TILE_BYTES))
        for offset, size in zip(page.tags.get(offsets, ()), page.tags.get(sizes, ()), strict=False)
    ]
    return max(0, max(ends, default=0) - len(data))
