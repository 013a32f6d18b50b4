"""What is beside the pixels of a file never decides whether they can be read; missing pixels always do."""

from __future__ import annotations

import struct
import zlib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageCms

from i2s_batch.errors import PictureError
from i2s_batch.images.read.decoding import decode_image
from tests.material import scene
from tests.storage.test_pictures import linear_profile, save

IMAGES = Path(__file__).parents[1] / "data" / "images"
PHOTO = scene(1, (45, 37))


def chunk(name: bytes, content: bytes, checksum: int | None = None) -> bytes:
    checksum = zlib.crc32(name + content) if checksum is None else checksum
    return struct.pack(">I", len(content)) + name + content + struct.pack(">I", checksum)


def png_with(*chunks: bytes, last: bytes = b"") -> bytes:
    """PHOTO as a PNG with chunks before and after its pixels."""
    data = save(PHOTO, "PNG")
    return data[:33] + b"".join(chunks) + data[33:-12] + last + data[-12:]


@pytest.mark.parametrize("name", ["text-3mb.png", "crc-text.png"])
def test_texts_of_a_png_are_no_matter(name: str) -> None:
    plain = decode_image((IMAGES / "plain.png").read_bytes())
    np.testing.assert_array_equal(decode_image((IMAGES / name).read_bytes()), plain)


@pytest.mark.parametrize(
    "data",
    [
        png_with(chunk(b"pHYs", b"\0\0\1")),
        png_with(chunk(b"gAMA", b"\0")),
        png_with(chunk(b"sRGB", b"")),
        png_with(chunk(b"cHRM", b"\0\1")),
        png_with(chunk(b"tIME", b"x", checksum=7)),
        png_with(chunk(b"iCCP", b"name\0\0" + zlib.compress(bytes(3_000_000)))),
        png_with(chunk(b"iCCP", b"name\0\0" + zlib.compress(b"x" * 99), checksum=7)),
        png_with(chunk(b"iTXt", b"a\0\1\0\0\0" + zlib.compress(bytes(9_000_000)))),
        png_with(*[chunk(b"zTXt", b"a\0\0" + zlib.compress(bytes(1_000_000)))] * 70),
        png_with(last=chunk(b"tEXt", b"late\0text", checksum=7)),
        b"\n" + save(PHOTO, "PNG"),
        b"\r\n\r\n" + save(PHOTO, "PNG"),
        b"\xef\xbb\xbf" + save(PHOTO, "PNG"),
    ],
)
def test_ancillary_data_of_a_png_are_no_matter(data: bytes) -> None:
    np.testing.assert_array_equal(decode_image(data), np.asarray(PHOTO))


def test_profile_and_orientation_of_a_png_count_beside_what_is_left_out() -> None:
    exif = Image.Exif()
    exif[0x0112] = 3
    whole = save(PHOTO, "PNG", icc_profile=linear_profile(), exif=exif)
    odd = whole[:33] + chunk(b"pHYs", b"\0") + whole[33:]
    np.testing.assert_array_equal(decode_image(odd), decode_image(whole))
    assert not np.array_equal(decode_image(whole), np.asarray(PHOTO)[::-1, ::-1])


def test_a_profile_above_pillows_limit_is_applied() -> None:
    profile = linear_profile()
    large = struct.pack(">I", 3_000_000) + profile[4:] + bytes(3_000_000 - len(profile))
    data = png_with(chunk(b"iCCP", b"name\0\0" + zlib.compress(large)))
    np.testing.assert_array_equal(decode_image(data), decode_image(save(PHOTO, "PNG", icc_profile=profile)))


def test_what_the_pixels_of_a_png_need_must_be_sound() -> None:
    whole = save(PHOTO.convert("P"), "PNG", transparency=0)
    for name in (b"IHDR", b"PLTE", b"tRNS"):
        at = whole.index(name)
        length = struct.unpack_from(">I", whole, at - 4)[0]
        broken = whole[: at + 4 + length] + b"\0\0\0\1" + whole[at + 8 + length :]
        with pytest.raises(PictureError, match="is damaged"):
            decode_image(broken)


def test_missing_rows_of_a_png_are_counted() -> None:
    noise = Image.fromarray(np.random.default_rng(0).integers(0, 256, (40, 64, 3), np.uint8))
    data = save(noise, "PNG")
    with pytest.raises(PictureError, match=r"is damaged: .* \(2[01] of 40 rows are missing\)"):
        decode_image(data[: len(data) // 2])


KINDS = [
    {"quality": 90},
    {"quality": 60, "subsampling": 2},
    {"quality": 95, "subsampling": 0},
    {"quality": 80, "progressive": True},
    {"quality": 80, "restart_marker_blocks": 1},
    {"quality": 80, "restart_marker_rows": 1, "progressive": True},
]


@pytest.mark.parametrize("kind", KINDS, ids=str)
@pytest.mark.parametrize("mode", ["RGB", "L", "CMYK"])
def test_a_jpeg_without_its_end_marker(kind: dict[str, object], mode: str) -> None:
    """All pixels are there: they are those of the whole file. Any are missing: it is refused, never shown grey."""
    whole = save(PHOTO.convert(mode), "JPEG", **kind)
    assert whole.endswith(b"\xff\xd9")
    expected = decode_image(whole)
    for end in (-2, -1):
        np.testing.assert_array_equal(decode_image(whole[:end]), expected)
    scan = whole.rindex(b"\xff\xda")
    refused = 0
    for end in range(scan, len(whole) - 2, 7):
        try:
            np.testing.assert_array_equal(decode_image(whole[:end]), expected)
        except PictureError as error:
            assert "is damaged" in str(error)
            refused += 1
    assert refused >= (len(whole) - 2 - scan) // 7 - 1, "what is cut off are pixels"


def test_a_jpeg_of_which_whole_scans_are_missing() -> None:
    whole = save(PHOTO, "JPEG", progressive=True)
    with pytest.raises(PictureError, match="the details of all rows, are missing"):
        decode_image(whole[: whole.rindex(b"\xff\xda")])


def test_missing_rows_of_a_jpeg_are_estimated() -> None:
    noise = Image.fromarray(np.random.default_rng(0).integers(0, 256, (160, 64, 3), np.uint8))
    data = save(noise, "JPEG", quality=90)
    with pytest.raises(PictureError, match=r"is damaged: it is truncated: about (80|8\d|7\d|9\d) of 160 rows"):
        decode_image(data[: len(data) // 2])


def test_no_end_marker_of_a_photograph() -> None:
    np.testing.assert_array_equal(
        decode_image((IMAGES / "no-eoi.jpg").read_bytes()),
        decode_image((IMAGES / "no-eoi.jpg").read_bytes() + b"\xff\xd9"),
    )


def test_a_jpeg_keeps_its_profile_colours_and_orientation() -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    cmyk = save(PHOTO.convert("CMYK"), "JPEG", exif=exif)
    photo = save(PHOTO, "JPEG", exif=exif, icc_profile=linear_profile())
    srgb = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    for whole in (cmyk, photo, save(PHOTO, "JPEG", icc_profile=srgb)):
        comments = (b"\xff\xfe\xff\xff" + bytes(65533)) * 260
        long = whole[:2] + comments + whole[2:]
        np.testing.assert_array_equal(decode_image(long), decode_image(whole))


def test_missing_bytes_of_other_formats_are_counted() -> None:
    for kind in ("BMP", "WEBP", "AVIF"):
        data = save(PHOTO, kind)
        cut = data[: len(data) * 2 // 3]
        with pytest.raises(PictureError, match=rf"\({len(data) - len(cut)} of {len(data)} bytes are missing\)"):
            decode_image(cut)


@pytest.mark.parametrize("lossless", [True, False])
def test_ancillary_data_of_a_webp_are_no_matter(lossless: bool) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    whole = save(PHOTO, "WEBP", lossless=lossless, exif=exif.tobytes(), xmp=b"<x>" * 100)
    expected = decode_image(whole)
    assert expected.shape == (45, 37, 3)
    xmp = whole.index(b"XMP ")
    for odd in (
        whole[: xmp + 50],
        whole[:4] + struct.pack("<I", 10) + whole[8:],
        whole[:4] + struct.pack("<I", 10**6) + whole[8:],
        whole[: xmp + 4] + struct.pack("<I", 10**6) + whole[xmp + 8 :],
        b"\n" + whole,
    ):
        np.testing.assert_array_equal(decode_image(odd), expected)
    cut = whole[: whole.index(b"EXIF") - 20]
    with pytest.raises(
        PictureError, match=rf"is damaged: .* \({len(whole) - len(cut)} of {len(whole)} bytes are missing"
    ):
        decode_image(cut)
    no_exif = whole[: whole.index(b"EXIF") + 12]
    np.testing.assert_array_equal(decode_image(no_exif), np.rot90(expected))


@pytest.mark.parametrize(
    "segment",
    [
        b"\xff\xe1\x00\x04ab",
        b"\xff\xed\x00\x1cPhotoshop 3.0\x008BIM\x04\x04\x00\x00\xff\xff\xff\xff",
        b"\xff\xee\x00\x07Adobe",
        b"\xff\xe2\x00\x10MPF\x00II*\x00\x08\x00\x00\x00ab",
        b"\xff\xe2\x00\x10ICC_PROFILE\x00\x05\x02",
        b"\xff\xfe\x00\x02",
    ],
)
def test_short_segments_of_a_jpeg_are_no_matter(segment: bytes) -> None:
    whole = save(PHOTO, "JPEG")
    for odd in (whole[:2] + segment + whole[2:], b"\r\n" + whole[:2] + segment + whole[2:-2]):
        np.testing.assert_array_equal(decode_image(odd), decode_image(whole))
