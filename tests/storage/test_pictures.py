"""Every kind of picture, with colours that are known, and every kind of file that is none."""

from __future__ import annotations

import io
import struct
import warnings
import zlib
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from PIL import Image, ImageCms

from i2s_batch.errors import PictureError
from i2s_batch.images.read.decoding import decode_image

RED, GREEN, BLUE = (255, 0, 0), (0, 255, 0), (0, 0, 255)
FOUR = np.array([[RED, GREEN, BLUE], [(0, 0, 0), (255, 255, 255), (200, 100, 50)]], np.uint8)  # [2, 3, 3]


def save(image: Image.Image, kind: str, **options: object) -> bytes:
    sink = io.BytesIO()
    image.save(sink, kind, **options)
    return sink.getvalue()


def four() -> Image.Image:
    return Image.fromarray(FOUR)


def png(width: int, height: int, depth: int, colour: int, rows: bytes, extra: bytes = b"") -> bytes:
    """A PNG made by hand: Pillow writes no 16-bit colour. `rows` has no filter bytes."""

    def chunk(name: bytes, content: bytes) -> bytes:
        return struct.pack(">I", len(content)) + name + content + struct.pack(">I", zlib.crc32(name + content))

    stride = len(rows) // height if height else 0
    filtered = b"".join(b"\0" + rows[i * stride : (i + 1) * stride] for i in range(height))
    header = struct.pack(">IIBBBBB", width, height, depth, colour, 0, 0, 0)
    chunks = chunk(b"IHDR", header) + extra + chunk(b"IDAT", zlib.compress(filtered)) + chunk(b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + chunks


def tiff16(pixels: np.ndarray) -> bytes:
    """An uncompressed little-endian RGB TIFF of 16 bits, made by hand. pixels uint16 [H, W, 3]."""
    height, width, _ = pixels.shape
    bits_at, pixels_at = 8 + 2 + 10 * 12 + 4, 8 + 2 + 10 * 12 + 4 + 6
    tags = [
        (256, 4, 1, width), (257, 4, 1, height), (258, 3, 3, bits_at), (259, 3, 1, 1), (262, 3, 1, 2),
        (273, 4, 1, pixels_at), (277, 3, 1, 3), (278, 4, 1, height), (279, 4, 1, pixels.nbytes), (284, 3, 1, 1),
    ]  # fmt: skip
    directory = struct.pack("<H", len(tags)) + b"".join(struct.pack("<HHII", *tag) for tag in tags) + bytes(4)
    bits = struct.pack("<HHH", 16, 16, 16)
    return b"II*\0" + struct.pack("<I", 8) + directory + bits + pixels.astype("<u2").tobytes()


@pytest.mark.parametrize("kind", ["PNG", "BMP", "TIFF", "PPM", "TGA", "PCX"])
def test_lossless_formats(kind: str) -> None:
    picture = decode_image(save(four(), kind))
    assert picture.dtype == np.uint8
    assert picture.flags["C_CONTIGUOUS"]
    np.testing.assert_array_equal(picture, FOUR)


@pytest.mark.parametrize(
    ("kind", "options"), [("WEBP", {"lossless": True}), ("GIF", {}), ("JPEG2000", {"irreversible": False})]
)
def test_other_lossless_formats(kind: str, options: dict[str, object]) -> None:
    np.testing.assert_array_equal(decode_image(save(four(), kind, **options)), FOUR)


def test_ico() -> None:
    image = Image.new("RGB", (32, 32), (10, 200, 30))
    np.testing.assert_array_equal(decode_image(save(image, "ICO", sizes=[(32, 32)])), np.asarray(image))


@pytest.mark.parametrize("kind", ["JPEG", "WEBP", "AVIF", "MPO"])
def test_lossy_formats(kind: str) -> None:
    image = Image.new("RGB", (32, 24), (200, 100, 50))
    picture = decode_image(save(image, kind))
    assert picture.shape == (24, 32, 3)
    np.testing.assert_allclose(picture, np.asarray(image), atol=3)


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("kind", ["PNG", "TIFF"])
def test_exif_orientation(kind: str, orientation: int) -> None:
    stored_by_orientation = {  # how FOUR must lie in the file so that a viewer shows FOUR
        1: FOUR, 2: FOUR[:, ::-1], 3: FOUR[::-1, ::-1], 4: FOUR[::-1], 5: FOUR.swapaxes(0, 1),
        6: np.rot90(FOUR, 1), 7: FOUR[::-1, ::-1].swapaxes(0, 1), 8: np.rot90(FOUR, -1),
    }  # fmt: skip
    stored = Image.fromarray(np.ascontiguousarray(stored_by_orientation[orientation]))
    exif = Image.Exif()
    exif[0x0112] = orientation
    np.testing.assert_array_equal(decode_image(save(stored, kind, exif=exif)), FOUR)


@pytest.mark.parametrize("exif", [b"Exif\0\0II*\0\xff\xff\xff\xff", b"Exif\0\0garbage", b"Exif\0\0"])
def test_broken_exif_is_ignored(exif: bytes) -> None:
    image = Image.new("RGB", (8, 8), (9, 9, 9))
    np.testing.assert_allclose(decode_image(save(image, "JPEG", exif=exif)), 9, atol=2)


@pytest.mark.parametrize("value", [0, 9, 77])
def test_an_orientation_out_of_range_is_ignored(value: int) -> None:
    exif = Image.Exif()
    exif[0x0112] = value
    np.testing.assert_array_equal(decode_image(save(four(), "PNG", exif=exif)), FOUR)


def test_grey_and_one_bit() -> None:
    grey = Image.fromarray(np.array([[0, 77, 255]], np.uint8))
    np.testing.assert_array_equal(decode_image(save(grey, "PNG"))[0], [[0] * 3, [77] * 3, [255] * 3])
    for kind in ("PNG", "TIFF"):
        assert decode_image(save(grey.convert("1", dither=0), kind))[0, :, 0].tolist() == [0, 0, 255]


def test_palette_with_and_without_transparency() -> None:
    image = Image.new("P", (3, 1))
    image.putpalette([*RED, *GREEN, *BLUE])
    image.putdata([0, 1, 2])
    np.testing.assert_array_equal(decode_image(save(image, "PNG"))[0], [RED, GREEN, BLUE])
    one = decode_image(save(image, "PNG", transparency=1))
    np.testing.assert_array_equal(one[0], [RED, (255, 255, 255), BLUE])
    graded = decode_image(save(image, "PNG", transparency=bytes([255, 0, 51])))
    np.testing.assert_allclose(graded[0], [RED, (255, 255, 255), (204, 204, 255)], atol=1)
    np.testing.assert_array_equal(decode_image(save(image, "GIF", transparency=0))[0, 0], [255] * 3)


def test_alpha_is_laid_on_white() -> None:
    rgba = np.array([[(*RED, 255), (*RED, 0), (0, 100, 200, 51)]], np.uint8)
    expected = [RED, (255, 255, 255), (204, 224, 244)]
    for kind in ("PNG", "TIFF"):
        np.testing.assert_allclose(decode_image(save(Image.fromarray(rgba), kind))[0], expected, atol=1)
    la = Image.fromarray(np.array([[(0, 255), (0, 0), (0, 51)]], np.uint8), "LA")
    np.testing.assert_allclose(decode_image(save(la, "PNG"))[0, :, 0], [0, 255, 204], atol=1)


def test_colour_key_transparency() -> None:
    np.testing.assert_array_equal(decode_image(save(four(), "PNG", transparency=GREEN))[0, 1], [255, 255, 255])


def test_cmyk() -> None:
    cmyk = np.array([[(0, 255, 255, 0), (255, 0, 255, 0), (0, 0, 0, 255), (0, 0, 0, 0), (0, 128, 0, 0)]], np.uint8)
    image = Image.fromarray(np.repeat(np.repeat(cmyk, 16, 0), 16, 1), "CMYK")
    expected = [RED, GREEN, (0, 0, 0), (255, 255, 255), (255, 127, 255)]
    for kind, options, atol in (("TIFF", {}, 0), ("JPEG", {"quality": 100}, 3)):
        data = save(image, kind, **options)
        if kind == "JPEG":
            assert b"Adobe" in data[:200], "Pillow writes Adobe's inverted CMYK"
        np.testing.assert_allclose(decode_image(data)[8, 8::16], expected, atol=atol)


def test_16_bit_grey() -> None:
    values = np.array([[0, 257, 128 * 257, 65535, 300]], np.uint16)
    expected = [0, 1, 128, 255, 1]
    for data in (save(Image.fromarray(values), "PNG"), save(Image.fromarray(values), "TIFF")):
        assert decode_image(data)[0, :, 0].tolist() == expected
    assert decode_image(png(5, 1, 16, 0, values.astype(">u2").tobytes()))[0, :, 2].tolist() == expected
    dim = Image.fromarray(np.full((4, 4), 200, np.uint16))  # dark, not an 8-bit picture in disguise
    assert decode_image(save(dim, "PNG")).max() == 1


def test_16_bit_colour() -> None:
    values = np.array([[(65535, 0, 128 * 257), (257, 65535, 77 * 257)]], np.uint16)
    expected = [(255, 0, 128), (1, 255, 77)]
    np.testing.assert_array_equal(decode_image(png(2, 1, 16, 2, values.astype(">u2").tobytes()))[0], expected)
    np.testing.assert_array_equal(decode_image(tiff16(values))[0], expected)
    alpha = np.array([[(65535, 0, 0, 65535), (65535, 0, 0, 0)]], ">u2")
    np.testing.assert_array_equal(decode_image(png(2, 1, 16, 6, alpha.tobytes()))[0], [RED, (255, 255, 255)])


def test_32_bit_integers() -> None:
    wide = np.array([[0, 2**31 - 1, 2**32 - 1]], np.uint32)
    signed = save(Image.fromarray(wide.view(np.int32)), "TIFF")
    unsigned = signed.replace(struct.pack("<HHII", 339, 3, 1, 2), struct.pack("<HHII", 339, 3, 1, 1))
    assert decode_image(unsigned)[0, :, 0].tolist() == [0, 127, 255]
    with pytest.raises(PictureError, match="not supported: its values are signed"):
        decode_image(signed)
    narrow = np.array([[0, 128 * 257, 65535]], np.int32)
    assert decode_image(save(Image.fromarray(narrow), "TIFF"))[0, :, 0].tolist() == [0, 128, 255]


def test_floats() -> None:
    unit = np.array([[0.0, 0.5, 1.0]], np.float32)
    assert decode_image(save(Image.fromarray(unit), "TIFF"))[0, :, 1].tolist() == [0, 128, 255]
    byte = np.array([[0.0, 77.4, 255.0]], np.float32)
    assert decode_image(save(Image.fromarray(byte), "TIFF"))[0, :, 1].tolist() == [0, 77, 255]
    for bad in ([-1.0, 0.0], [0.0, 1000.0], [np.nan, 0.0]):
        with pytest.raises(PictureError, match=r"floating-point values go from .* not 0..1 or 0..255"):
            decode_image(save(Image.fromarray(np.array([bad], np.float32)), "TIFF"))


SRGB = ImageCms.createProfile("sRGB")


def test_lab() -> None:
    soft = np.array([[(200, 100, 50), (128, 128, 128), (40, 90, 120), (255, 255, 255)]], np.uint8)
    lab = ImageCms.profileToProfile(Image.fromarray(soft), SRGB, ImageCms.createProfile("LAB"), outputMode="LAB")
    np.testing.assert_allclose(decode_image(save(lab, "TIFF"))[0], soft[0], atol=5)


def linear_profile() -> bytes:
    """The sRGB profile with its three tone curves replaced by a straight line: a true non-sRGB profile."""
    profile = bytearray(ImageCms.ImageCmsProfile(SRGB).tobytes())
    count = struct.unpack_from(">I", profile, 128)[0]
    for i in range(count):
        name, offset, _ = struct.unpack_from(">4sII", profile, 132 + 12 * i)
        if name in (b"rTRC", b"gTRC", b"bTRC"):
            profile[offset : offset + 12] = b"curv" + bytes(8)  # no points: the identity
            struct.pack_into(">I", profile, 132 + 12 * i + 8, 12)
    return bytes(profile)


def srgb_of_linear(value: int) -> float:
    """IEC 61966-2-1, from linear light 0..255 to sRGB 0..255."""
    u = value / 255
    return 255 * (12.92 * u if u <= 0.0031308 else 1.055 * u ** (1 / 2.4) - 0.055)


@pytest.mark.parametrize("kind", ["PNG", "TIFF"])
def test_an_icc_profile_is_applied(kind: str) -> None:
    values = [0, 10, 64, 128, 255]
    grey = Image.fromarray(np.array([[(v, v, v) for v in values]], np.uint8))
    picture = decode_image(save(grey, kind, icc_profile=linear_profile()))
    np.testing.assert_allclose(picture[0, :, 0], [srgb_of_linear(v) for v in values], atol=1.5)
    layered = grey.convert("RGBA")
    picture = decode_image(save(layered, kind, icc_profile=linear_profile()))
    np.testing.assert_allclose(picture[0, :, 0], [srgb_of_linear(v) for v in values], atol=1.5)


def test_an_srgb_profile_changes_nothing() -> None:
    profile = ImageCms.ImageCmsProfile(SRGB).tobytes()
    np.testing.assert_array_equal(decode_image(save(four(), "PNG", icc_profile=profile)), FOUR)


def test_useless_profiles_are_ignored() -> None:
    lab = ImageCms.ImageCmsProfile(ImageCms.createProfile("LAB")).tobytes()
    for profile in (b"no profile", lab, linear_profile()[:200]):
        np.testing.assert_array_equal(decode_image(save(four(), "PNG", icc_profile=profile)), FOUR)


@pytest.mark.parametrize("kind", ["GIF", "PNG", "WEBP"])
def test_first_frame_of_an_animation(kind: str) -> None:
    frames = [Image.new("RGB", (8, 8), colour) for colour in (RED, GREEN)]
    data = save(frames[0], kind, save_all=True, append_images=frames[1:], lossless=True)
    np.testing.assert_array_equal(decode_image(data)[0, 0], RED)


def noise() -> Image.Image:
    return Image.fromarray(np.random.default_rng(0).integers(0, 256, (64, 64, 3), dtype=np.uint8))


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP", "BMP", "TIFF", "JPEG2000", "AVIF", "PPM", "GIF"])
def test_truncated_files(kind: str) -> None:
    data = save(noise(), kind)
    for length in (len(data) // 2, len(data) // 5, 20, 3):
        with pytest.raises(PictureError):
            decode_image(data[:length])


@pytest.mark.parametrize(
    ("data", "found"),
    [
        (b"", "the file is empty"),
        (b"<!DOCTYPE html><html><body>403</body></html>", "an HTML page"),
        (b"\n <html>", "an HTML page"),
        (b'{"error": "gone"}', "JSON text"),
        (b"%PDF-1.7 ...", "a PDF document"),
        (b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n", "a PostScript document"),
        (b'<?xml version="1.0"?>\n<svg xmlns="http://www.w3.org/2000/svg"/>', "an SVG drawing"),
        (b"hello, world\n", "text that begins 'hello, world"),
        (b"version https://git-lfs.github.com/spec/v1\n", "a Git LFS pointer"),
        (b"PK\x03\x04rest", "a ZIP archive"),
        (b"\0\0\0\x18ftypheic\0\0\0\0", "an HEIC image"),
        (b"\0\0\0\x18ftypisom\0\0\0\0", "a video"),
        (bytes(500), "nothing but zero bytes"),
        (b"\xde\xad\xbe\xef" * 10, "unknown data that begins with bytes de ad be ef"),
    ],
)
def test_what_is_no_picture_is_named(data: bytes, found: str) -> None:
    with pytest.raises(PictureError, match=found) as caught:
        decode_image(data)
    assert "\n" not in str(caught.value)


def test_pixel_limit_comes_before_decoding() -> None:
    bomb = png(30_000, 30_000, 8, 2, b"")  # 900 megapixels announced, none there
    with pytest.raises(PictureError, match="the image has 900000000 pixels; the limit is 200000000"):
        decode_image(bomb)
    large = png(15_000, 14_000, 8, 2, b"")
    with pytest.raises(PictureError, match="the image has 210000000 pixels; the limit is 200000000"):
        decode_image(large)
    with pytest.raises(PictureError, match="3 x 2 pixels; the limit is 5"):
        decode_image(save(four(), "PNG"), max_pixels=5)
    assert decode_image(save(four(), "PNG"), max_pixels=6).shape == (2, 3, 3)


def test_ninety_megapixels_bring_no_warning() -> None:
    blank = Image.new("1", (10_000, 9_500))  # above Pillow's own warning limit
    assert decode_image(save(blank, "PNG")).shape == (9_500, 10_000, 3)


KINDS = ["JPEG", "PNG", "WEBP", "BMP", "GIF", "TIFF", "PPM", "JPEG2000", "AVIF", "ICO", "PCX", "TGA"]


@pytest.mark.parametrize("kind", KINDS)
def test_mutated_files_decode_or_raise_picture_error(kind: str) -> None:
    rng = np.random.default_rng(len(kind))
    exif = Image.Exif()
    exif[0x0112] = 6
    options: dict[str, object] = {"exif": exif} if kind in ("JPEG", "PNG", "WEBP", "TIFF", "AVIF") else {}
    original = save(noise().resize((24, 24)), kind, **options)
    for _ in range(150):
        data = bytearray(original)
        for position in rng.integers(0, min(len(data), 400), rng.integers(1, 6)):
            data[position] = rng.integers(256)
        try:
            picture = decode_image(bytes(data), max_pixels=10**6)
        except PictureError as error:
            assert "\n" not in str(error)
        else:
            assert picture.dtype == np.uint8
            assert picture.ndim == 3


def test_threads_decode_alike() -> None:
    makers: list[Callable[[], bytes]] = [lambda: save(noise(), "PNG"), lambda: save(noise(), "JPEG", quality=90)]
    files = [make() for make in makers] * 20
    expected = [decode_image(data) for data in files[:2]] * 20
    with ThreadPoolExecutor(4) as pool:
        for found, wanted in zip(pool.map(decode_image, files), expected, strict=True):
            np.testing.assert_array_equal(found, wanted)


def test_warnings_of_others_still_appear() -> None:
    decode_image(save(four(), "PNG"))
    with pytest.warns(UserWarning, match="mine"):
        warnings.warn("mine", UserWarning, stacklevel=1)


@pytest.mark.parametrize("magic", [b"P5", b"P6"])
@pytest.mark.parametrize("peak", [1, 100, 254, 256, 1023, 65535])
def test_a_ppm_with_any_largest_value_is_what_pillow_makes_of_it(magic: bytes, peak: int) -> None:
    values = np.random.default_rng(peak).integers(0, peak + 1, (7, 5, 3 if magic == b"P6" else 1))
    data = magic + b"\n5 7\n%d\n" % peak + values.astype(np.uint8 if peak < 256 else ">u2").tobytes()
    read = Image.open(io.BytesIO(data))
    expected = np.asarray(read)
    if read.mode == "I":
        expected = np.rint(expected * (255 / 65535))
    expected = np.broadcast_to(expected.reshape(7, 5, -1), (7, 5, 3))
    np.testing.assert_array_equal(decode_image(data), expected)
    with pytest.raises(PictureError, match="damaged"):
        decode_image(data[:-1])


@pytest.mark.parametrize(("package", "kind"), [("pillow_heif", "HEIF"), ("pillow_jxl", "JXL")])
def test_formats_of_plug_ins_are_decoded_where_these_are_installed(package: str, kind: str) -> None:
    module = pytest.importorskip(package)
    if kind == "HEIF":
        module.register_heif_opener()
    smooth = np.linspace(0, 255, 64 * 48).reshape(48, 64).astype(np.uint8)
    image = Image.fromarray(np.stack([smooth, smooth[::-1], smooth // 2], 2))
    exif = Image.Exif()
    exif[0x0112] = 6
    data = save(image, kind, quality=95, exif=exif.tobytes())
    np.testing.assert_allclose(decode_image(data), np.rot90(np.asarray(image), -1), atol=20)
    clear = image.copy()
    clear.putalpha(0)
    assert (decode_image(save(clear, kind, quality=95)) > 250).all()
    with pytest.raises(PictureError, match="the limit is 3071"):
        decode_image(data, max_pixels=3071)
    with pytest.raises(PictureError, match=r"damaged|cannot be decoded"):
        decode_image(data[: len(data) // 2])
