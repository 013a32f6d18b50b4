"""TIFFs as cameras, scanners and programs write them: which page counts, and what its numbers mean."""

from __future__ import annotations

import struct
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pytest

from i2s_batch.errors import PictureError
from i2s_batch.images.read.decoding import decode_image

IMAGES = Path(__file__).parents[1] / "data" / "images"
REDUCED = {254: 1}


@dataclass
class Page:
    """Describes a grey page: its pixels as bytes, its size, tags over the usual ones, and pages below it."""

    pixels: bytes
    size: tuple[int, int]
    tags: dict[int, int] = field(default_factory=dict)
    below: list[Page] = field(default_factory=list)


def grey(shade: int, side: int, **more: object) -> Page:
    return Page(bytes([shade]) * side**2, (side, side), **more)


class Writer:
    """Writes pages as a TIFF or a BigTIFF of either byte order, every tag a LONG."""

    def __init__(self, order: str, big: bool) -> None:
        self.order, self.big = order, big
        self.number, self.size = ("Q", 8) if big else ("I", 4)
        magic = b"II" if order == "<" else b"MM"
        self.out = bytearray(magic + (self.pack("HHHQ", 43, 8, 0, 0) if big else self.pack("HI", 42, 0)))

    def pack(self, kinds: str, *values: int) -> bytes:
        return struct.pack(self.order + kinds, *values)

    def link(self, position: int) -> None:
        self.out[position : position + self.size] = self.pack(self.number, len(self.out))

    def chain(self, pages: list[Page], position: int) -> None:
        for page in pages:
            position = self.page(page, position)

    def page(self, page: Page, position: int) -> int:
        """Write one page, to which the number at `position` points; return where the number is that points on."""
        at = len(self.out)
        self.out += page.pixels
        self.link(position)
        tags = {256: page.size[0], 257: page.size[1], 258: 8, 259: 1, 262: 1, 277: 1}
        tags |= {273: at, 278: page.size[1], 279: len(page.pixels)} | page.tags | ({330: 0} if page.below else {})
        self.out += self.pack("Q" if self.big else "H", len(tags))
        places = {}
        for tag in sorted(tags):
            self.out += self.pack("HH" + self.number, tag, 4, 1)
            places[tag] = len(self.out)
            self.out += self.pack("I", tags[tag]).ljust(self.size, b"\0")
        following = len(self.out)
        self.out += self.pack(self.number, 0)
        if page.below:
            (one,) = page.below
            self.page(one, places[330])
        return following


def tiff(pages: list[Page], order: str = "<", big: bool = False) -> bytes:
    writer = Writer(order, big)
    writer.chain(pages, 8 if big else 4)
    return bytes(writer.out)


@pytest.mark.parametrize(("order", "big"), [("<", False), (">", False), ("<", True)])
def test_a_reduced_first_page_is_not_the_image(order: str, big: bool) -> None:
    thumbnail, full = grey(9, 16, tags=REDUCED), grey(77, 48)
    older = grey(9, 16, tags={255: 2})
    mask = grey(9, 48, tags={254: 4})
    for pages in ([thumbnail, full], [older, full], [mask, thumbnail, full, grey(5, 48)], [full, thumbnail]):
        picture = decode_image(tiff(pages, order, big))
        assert (picture.shape, picture[0, 0, 0]) == ((48, 48, 3), 77)
    below = grey(9, 16, tags=REDUCED, below=[full])
    assert decode_image(tiff([below], order, big)).shape == (48, 48, 3)
    assert decode_image(tiff([thumbnail], order, big)).shape == (16, 16, 3), "there is no other page"


def test_a_thumbnail_before_the_image_as_written_by_a_program() -> None:
    picture = decode_image((IMAGES / "thumbnail-first.tif").read_bytes())
    assert picture.shape == (96, 96, 3)


@pytest.mark.parametrize(
    "data",
    [
        (IMAGES / "raw.dng").read_bytes(),
        tiff([grey(9, 16, tags=REDUCED, below=[grey(1, 48, tags={262: 32803})])]),
        tiff([grey(9, 16, tags=REDUCED), grey(1, 48, tags={262: 34892})]),
        tiff([grey(9, 16, tags={50706: 0x00000401})]),
        tiff([grey(9, 16, tags=REDUCED, below=[grey(1, 48, tags={259: 34713})])], ">"),
        b"II*\0\x08\0\0\0IIIITwaR" + bytes(99),
        b"II*\0\x10\0\0\0CR\x02\0" + bytes(99),
        b"IIRO\x08\0\0\0" + bytes(99),
        b"IIU\0\x18\0\0\0" + bytes(99),
        b"FUJIFILMCCD-RAW 0201" + bytes(99),
        b"\0\0\0\x18ftypcrx " + bytes(99),
    ],
)
def test_a_camera_raw_file_is_not_embedded_as_its_preview(data: bytes) -> None:
    with pytest.raises(
        PictureError, match=r"^the file is a camera raw file, which is not supported; convert it to TIFF"
    ):
        decode_image(data)


def shown(bits: int, values: np.ndarray, **tags: int) -> list[int]:
    """Return how a row of grey values is shown. `tags`: photometric and sample_format."""
    numbers = {258: bits, 262: tags.get("photometric", 1), 339: tags.get("sample_format", 1)}
    page = Page(values.tobytes(), (values.shape[0] * 8 * values.itemsize // bits, 1), numbers)
    return decode_image(tiff([page]))[0, :, 0].tolist()


def test_white_may_be_zero() -> None:
    values = np.array([0, 257, 128 * 257, 65535], np.uint16)
    assert shown(16, values, photometric=0) == [255, 254, 127, 0]
    assert shown(8, np.array([0, 1, 255], np.uint8), photometric=0) == [255, 254, 0]
    left_light = decode_image((IMAGES / "miniswhite16.tif").read_bytes())
    assert left_light[0, 0, 0] == 255 and left_light[0, -1, 0] == 0
    with pytest.raises(PictureError, match="not supported: it has floating-point values of which zero is white"):
        shown(32, np.array([0, 1], np.float32), photometric=0, sample_format=3)


def test_twelve_bits_a_sample() -> None:
    packed = np.frombuffer(bytes.fromhex("000fff800fff"), np.uint8)  # 0, 4095, 2048, 4095
    assert shown(12, packed) == [0, 255, 128, 255]


def test_signed_samples() -> None:
    for bits, kind in ((8, np.int8), (16, np.int16), (32, np.int32)):
        with pytest.raises(PictureError, match="not supported: its values are signed"):
            shown(bits, np.array([-5, 0, 99], kind), sample_format=2)
    with pytest.raises(PictureError, match="not supported: its values are signed"):
        shown(16, np.array([0, 99], np.int16), sample_format=2)
    assert shown(32, np.array([0, 65535], np.int32), sample_format=2) == [0, 255], "as programs write 16 bits"


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ([0, 0.5, 1.02], [0, 128, 255]),
        ([0.25] * 150 + [40.0], [64] * 150 + [255]),
        ([0.0, 1.0, 2.0, 3.0], [0, 1, 2, 3]),
        ([0.0, 99.5, 200.0], [0, 100, 200]),
    ],
)
def test_what_floats_mean(values: list[float], expected: list[int]) -> None:
    assert shown(32, np.array(values, np.float32), sample_format=3) == expected


@pytest.mark.parametrize("values", [[0.5, 1.0, 3.5], [0.5, 20.5, 30.5], [0.5] * 150 + [np.inf], [-0.1, 0.5]])
def test_floats_of_uncertain_meaning_are_not_shown(values: list[float]) -> None:
    with pytest.raises(PictureError, match=r"not supported: its floating-point values go from .* not 0\.\.1"):
        shown(32, np.array(values, np.float32), sample_format=3)


def test_floats_hardly_above_one() -> None:
    picture = decode_image((IMAGES / "float_over1.tif").read_bytes())
    assert (picture.min(), picture.max()) == (0, 255) and 100 < picture.mean() < 156


@pytest.mark.parametrize(
    ("tags", "words"),
    [
        ({258: 24}, "its pixels are of a rare kind (photometric interpretation 1, bits a sample 24"),
        ({262: 9}, "its pixels are of a rare kind (photometric interpretation 9"),
        ({259: 34712}, "its compression is 34712"),
    ],
)
def test_what_pillow_does_not_know_is_not_called_damaged(tags: dict[int, int], words: str) -> None:
    with pytest.raises(PictureError) as refusal:
        decode_image(tiff([grey(1, 16, tags=tags)]))
    assert f"is not supported: {words}" in str(refusal.value) and "damaged" not in str(refusal.value)


def test_a_tiff_that_is_cut_off_is_damaged() -> None:
    whole = tiff([grey(1, 48)])
    pixels_first = b"II*\0" + struct.pack("<I", 8) + whole[8 + 48 * 48 :]
    shifted = pixels_first.replace(struct.pack("<HHII", 273, 4, 1, 8), struct.pack("<HHII", 273, 4, 1, 122))
    assert decode_image(shifted + bytes([1]) * 48 * 48).shape == (48, 48, 3)
    with pytest.raises(PictureError, match=r"is damaged: .* \(\d+ of 2426 bytes are missing\)"):
        decode_image(shifted + bytes(100))


def test_planes_that_would_be_mixed_up_are_not_shown() -> None:
    """Of 16-bit colour whose three planes lie one after the other, uncompressed, Pillow shows other colours."""
    planes = np.array([[0, 65535], [65535, 0], [0, 0]], np.uint16)
    tags = {258: 16, 262: 2, 277: 3, 284: 2}
    with pytest.raises(PictureError, match="not supported"):
        decode_image(tiff([Page(planes.tobytes(), (2, 1), tags)]))
