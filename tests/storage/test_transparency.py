"""Transparent pixels are white, however many bits a sample has."""

from __future__ import annotations

import struct
import zlib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from i2s_batch.images.read.decoding import decode_image
from tests.storage.test_ancillary_data import chunk
from tests.storage.test_pictures import png, save

IMAGES = Path(__file__).parents[1] / "data" / "images"
WHITE = [255, 255, 255]


def key(*samples: int) -> bytes:
    return chunk(b"tRNS", struct.pack(f">{len(samples)}H", *samples))


def test_one_shade_of_16_bit_grey() -> None:
    values = np.array([[0x1234, 0x1235, 0x1334, 0]], ">u2")
    assert decode_image(png(4, 1, 16, 0, values.tobytes(), key(0x1234)))[0, :, 0].tolist() == [255, 18, 19, 0]
    picture = decode_image((IMAGES / "grey16-transparent.png").read_bytes())
    assert picture[0, 0].tolist() == [156] * 3 and picture[-1, -1].tolist() == WHITE


def test_one_colour_of_16_bits() -> None:
    """Of which the high bytes alone say nothing."""
    first = (0x1234, 0x5678, 0x9ABC)
    pixels = [first, (0x1235, *first[1:]), (*first[:2], 0x9ABD), (0x34, 0x78, 0xBC), (0x1200, 0x5600, 0x9A00)]
    data = png(5, 1, 16, 2, np.array([pixels], ">u2").tobytes(), key(*first))
    assert decode_image(data)[0].tolist() == [WHITE, *[[0x12, 0x56, 0x9A]] * 2, [0, 0, 0], [0x12, 0x56, 0x9A]]


def test_one_colour_of_16_bits_of_a_filtered_and_turned_png() -> None:
    stream = np.random.default_rng(4)
    values = (stream.integers(0, 3, (9, 7, 3)) * 300).astype(">u2")
    chosen = (300, 0, 600)
    rows = values.reshape(9, -1).view(np.uint8)
    left = np.pad(rows, ((0, 0), (6, 0)))[:, :-6]
    filtered = b"".join(b"\1" + (row - before).tobytes() for row, before in zip(rows, left, strict=True))
    exif = Image.Exif()
    exif[0x0112] = 3
    extra = key(*chosen) + chunk(b"eXIf", exif.tobytes()[6:])
    whole = png(7, 9, 16, 2, values.tobytes(), extra)
    plain = zlib.compress(b"".join(b"\0" + row.tobytes() for row in rows))
    data = whole.replace(chunk(b"IDAT", plain), chunk(b"IDAT", zlib.compress(filtered)))
    assert data != whole
    expected = (values >> 8).astype(np.uint8)
    expected[(values == chosen).all(-1)] = 255
    assert (expected == 255).any()
    np.testing.assert_array_equal(decode_image(data), expected[::-1, ::-1])
    np.testing.assert_array_equal(decode_image(whole), expected[::-1, ::-1])


@pytest.mark.parametrize(
    ("depth", "row", "shades"), [(1, 0x50, [0, 255]), (2, 0x1B, [0, 85, 170, 255]), (4, 0x3F, [51, 255])]
)
def test_one_shade_of_grey_below_8_bits(depth: int, row: int, shades: list[int]) -> None:
    largest = 2**depth - 1
    for sample in range(largest + 1):
        data = png(len(shades), 1, depth, 0, bytes([row]), key(sample))
        expected = [255 if shade * largest == sample * 255 else shade for shade in shades]
        assert decode_image(data)[0, :, 0].tolist() == expected


def test_alpha_of_16_bits() -> None:
    la = np.array([[(0, 65535), (0, 0), (65535, 0), (0, 51 * 257)]], ">u2")
    np.testing.assert_allclose(decode_image(png(4, 1, 16, 4, la.tobytes()))[0, :, 0], [0, 255, 255, 204], atol=1)
    rgba = np.array([[(65535, 0, 0, 65535), (65535, 0, 0, 0), (0, 0, 0, 51 * 257)]], ">u2")
    expected = [[255, 0, 0], WHITE, [204] * 3]
    np.testing.assert_allclose(decode_image(png(3, 1, 16, 6, rgba.tobytes()))[0], expected, atol=1)


def test_grey_with_alpha_multiplied_in() -> None:
    data = save(Image.fromarray(np.array([[(0, 255), (0, 0), (51, 51)]], np.uint8), "LA"), "TIFF")
    unassociated, associated = struct.pack("<HHII", 338, 3, 1, 2), struct.pack("<HHII", 338, 3, 1, 1)
    assert unassociated in data
    np.testing.assert_allclose(decode_image(data.replace(unassociated, associated))[0, :, 0], [0, 255, 255], atol=1)
