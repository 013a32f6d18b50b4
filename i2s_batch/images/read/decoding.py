"""Decodes the bytes of an image file to uint8 sRGB, as a viewer on a white page would show it.

The files are not trusted. Bytes, pixels, pieces and the passes over them are limited, and with them time and memory;
a limit in seconds would need a process of its own for every image, and would make results depend on the load of the
machine.
"""

from __future__ import annotations

import io
import re
import struct
import warnings
import zlib
from dataclasses import dataclass
from typing import Any

import numpy as np
from PIL import Image, UnidentifiedImageError

from i2s_batch.errors import PictureError
from i2s_batch.images.read import colour_key, gif_blocks, jpeg_segments, png_chunks, tiff_pages, webp_chunks
from i2s_batch.images.read.bounded import BoundedFile
from i2s_batch.images.read.faults import BeyondLimitError, DamagedImageError
from i2s_batch.images.read.plugins import plugin_formats
from i2s_batch.images.read.refusals import refusal
from i2s_batch.images.read.sniff import CAMERA_RAW, TIFF, FileType, file_type, without_leading_blanks
from i2s_batch.images.read.to_rgb import rgb_pixels

MAX_PIXELS = 200_000_000
# A PPM may have its pixels as decimal text, which Pillow reads a number at a time.
MAX_TEXT_PIXELS = 4_000_000
MAX_TEXT_COMMENTS = 1000

# Formats that Pillow decodes by itself: nothing here starts Ghostscript or another program. TGA comes last
# because it has no signature. Older Pillows lack AVIF, and `Image.open` fails on a name it does not know.
_WANTED = ("JPEG", "PNG", "WEBP", "BMP", "GIF", "TIFF", "PPM", "JPEG2000", "AVIF", "ICO", "PCX", "TGA")
Image.init()
FORMATS = tuple(name for name in _WANTED if name in Image.OPEN)

# What Pillow's decoders raise on damaged or hostile files, collected by mutating files of every format.
_DECODER_ERRORS = (
    OSError,  # includes UnidentifiedImageError and most truncations
    SyntaxError,
    ValueError,
    TypeError,
    LookupError,
    ArithmeticError,
    AttributeError,
    EOFError,
    RuntimeError,  # AVIF; NotImplementedError too
    MemoryError,
    struct.error,
    zlib.error,
    Image.DecompressionBombError,
)

# Pillow refuses twice this: the guard for what it opens out of our sight, images inside an ICO.
Image.MAX_IMAGE_PIXELS = MAX_PIXELS // 2

_ORIENTATION_TAG = 0x0112
_TILE_WIDTH_TAG, _TILE_LENGTH_TAG = 0x0142, 0x0143


@dataclass(frozen=True)
class DecodedImage:
    """Holds an image and what its file was.

    Attributes:
        pixels: uint8 [H, W, 3] sRGB, as `decode_image` returns them.
        format: Pillow's name of the file's format: JPEG, PNG, TIFF, ...
        mode: Pillow's mode of the file before anything was converted: RGB, L, CMYK, ...
    """

    pixels: np.ndarray
    format: str
    mode: str


def decode_image(data: bytes, max_pixels: int = MAX_PIXELS) -> np.ndarray:
    """Return uint8 [H, W, 3] sRGB, as the image is meant to be seen.

    - turned as its EXIF orientation says; the first frame of an animation
    - transparency (alpha, palette, colour key) composited on white
    - an embedded ICC profile is applied; a broken or unfitting one is ignored
    - CMYK without a profile by the plain formula; JPEG's CMYK is taken as inverted, as every viewer does
    - 12 and 16 bits scaled to 8; 32-bit integers by 65535 if none is larger, else by 2^32 - 1
    - floats by 1, and clipped, if hardly any is above 1, else taken as 0..255; any other range is an error
    - of a TIFF the full page, not a thumbnail before it

    What is beside the pixels (texts, profiles, checksums of theirs, an end marker) never decides whether they can be
    read: where a decoder refuses a file, it gets it again without.

    Raises:
        PictureError: The file is not an image (and what it is instead), damaged, not supported or above `max_pixels`.
    """
    return decode_file(data, max_pixels).pixels


def decode_file(data: bytes, max_pixels: int = MAX_PIXELS) -> DecodedImage:
    """Return an image and what its file was; errors as `decode_image`."""
    if not data:
        raise PictureError("the file is empty", is_image=False)
    # Pillow warns of oddities in files that it decodes all the same. `catch_warnings` is not for threads.
    warnings.filterwarnings("ignore", module=r"PIL\.")
    data = without_leading_blanks(data)
    found = file_type(data)
    if found is TIFF and tiff_pages.is_camera_raw(data):
        found = CAMERA_RAW
    try:
        return _decoded(data, found, max_pixels)
    except _DECODER_ERRORS as error:
        raise refusal(data, found, error) from error


def _decoded(data: bytes, found: FileType, max_pixels: int) -> DecodedImage:
    """Return the image in a file of the type `found`, without what is beside them if that is in the way."""
    if found is CAMERA_RAW:
        raise UnidentifiedImageError
    data = tiff_pages.full_page(data) if found is TIFF else data
    formats = (*FORMATS, *plugin_formats(found))
    try:
        return _pixels(data, formats, max_pixels)
    except _DECODER_ERRORS:
        if data.startswith(jpeg_segments.SIGNATURE):
            return _jpeg_again(data, max_pixels)
        if data.startswith(png_chunks.SIGNATURE):
            needed = png_chunks.pixel_chunks(data)
            return _pixels(needed.data, ("PNG",), max_pixels, needed.icc_profile)
        if webp_chunks.is_webp(data):
            return _pixels(webp_chunks.pixel_chunks(data), ("WEBP",), max_pixels)
        if data.startswith(b"GIF8") and (rest := gif_blocks.without_comments(data)) != data:
            return _pixels(rest, ("GIF",), max_pixels)
        raise


def _jpeg_again(data: bytes, max_pixels: int) -> DecodedImage:
    """Return the image of a JPEG that was refused, if what is beside it, or a missing end marker, was the reason."""
    needed = jpeg_segments.without_ancillary(data)
    if jpeg_segments.has_end(data):
        return _pixels(needed, ("JPEG",), max_pixels)
    read: list[DecodedImage] = []

    def decode(data: bytes) -> np.ndarray:
        read.append(_pixels(data, ("JPEG",), max_pixels))
        return read[-1].pixels

    jpeg_segments.decode_without_end(needed, decode)  # the first of several readings is the image
    return read[0]


def _pixels(data: bytes, formats: tuple[str, ...], max_pixels: int, profile: bytes | None = None) -> DecodedImage:
    """Return the image in a file of one of `formats`, with `profile` as its ICC profile; or an error of a decoder.

    Raises:
        PictureError: The image is beyond a limit of pixels or passes over them.
    """
    file = BoundedFile(data)
    try:
        image: Image.Image = Image.open(file, formats=formats)
        file.header_read()
        _check_limits(image, data, max_pixels)
        file_format, mode = image.format or "", image.mode
        if profile is not None:
            image.info["icc_profile"] = profile
        if image.format == "PPM" and image.tile[0].codec_name == "ppm":  # type: ignore[attr-defined]
            image = _scaled_ppm(image, data)
        key = colour_key.take(image)
        image.load()
        pixels = rgb_pixels(image)
        if key is not None:
            key.whiten(pixels, image, data)
        return DecodedImage(_upright(pixels, _orientation(image)), file_format, mode)
    except Image.DecompressionBombError as error:
        raise _too_large(error) from error


def _check_limits(image: Image.Image, data: bytes, max_pixels: int) -> None:
    """Raise PictureError or BeyondLimitError for an image that would take more memory or time than one may."""
    width, height = image.size
    if width * height > max_pixels:
        raise PictureError(f"the image has {width} x {height} pixels; the limit is {max_pixels}")
    most_scans = jpeg_segments.MAX_SCANS
    if image.format in ("JPEG", "MPO") and jpeg_segments.count_scans(data) > most_scans:
        raise PictureError(f"the JPEG has more than {most_scans} scans, which no encoder writes; save it again")
    if image.format == "PPM" and (reason := _slow_text(image, data)):
        raise PictureError(f"the PPM {reason}; save it as a PNG")
    if image.format == "TIFF" and _tile_pixels(image) > max_pixels:
        raise BeyondLimitError(f"a tile of it has {_tile_pixels(image)} pixels; the limit is {max_pixels}")


def _too_large(error: Image.DecompressionBombError) -> PictureError:
    pixels = re.search(r"\d+", str(error))
    return PictureError(f"the image has {pixels[0] if pixels else 'too many'} pixels; the limit is {MAX_PIXELS}")


def _tile_pixels(image: Image.Image) -> int:
    """Return the pixels of a tile of a TIFF, 0 without tiles: one may be larger than the image, and is allocated."""
    tags: Any = image.tag_v2  # type: ignore[attr-defined]
    return int(tags.get(_TILE_WIDTH_TAG, 0)) * int(tags.get(_TILE_LENGTH_TAG, 0))


def _slow_text(image: Image.Image, data: bytes) -> str:
    """Return what makes a PPM with its pixels as text slow: each number is, and each comment copies what follows it."""
    if image.tile[0].codec_name != "ppm_plain":  # type: ignore[attr-defined]
        return ""
    if image.width * image.height > MAX_TEXT_PIXELS:
        return f"has more than {MAX_TEXT_PIXELS} pixels written as text"
    if data.count(b"#") > MAX_TEXT_COMMENTS:
        return f"has more than {MAX_TEXT_COMMENTS} comments in its text"
    return ""


def _scaled_ppm(image: Image.Image, data: bytes) -> Image.Image:
    """Read a binary PPM whose largest value is not 255 as Pillow does, which would go pixel by pixel."""
    tile = image.tile[0]  # type: ignore[attr-defined]
    peak = tile.args[1]
    shape = (image.height, image.width, len(image.getbands()))
    number = np.dtype(np.uint8 if peak < 256 else ">u2")
    missing = tile.offset + number.itemsize * int(np.prod(shape)) - len(data)
    if missing > 0:
        raise DamagedImageError(f"it is truncated: {missing} bytes of pixels are missing")
    values = np.frombuffer(data, number, int(np.prod(shape)), tile.offset).reshape(shape)
    kind, white = (np.int32, 65535) if image.mode == "I" else (np.uint8, 255)
    pixels = np.empty(shape, kind)
    for row, line in zip(pixels, values, strict=True):
        row[:] = np.minimum(np.rint(line / peak * white), white)
    return Image.fromarray(pixels.squeeze(-1) if shape[2] == 1 else pixels, image.mode)


def _orientation(image: Image.Image) -> int:
    """Return the EXIF orientation, 1 to 8; 1 if there is none. TIFF's is already applied, and its tag gone."""
    try:
        value = image.getexif().get(_ORIENTATION_TAG, 1)
    except _DECODER_ERRORS:  # the pixels are sound, only their EXIF is not
        return 1
    return value if value in range(1, 9) else 1


def _upright(pixels: np.ndarray, orientation: int) -> np.ndarray:
    """Turn an image upright (EXIF 2.3, tag 0x0112): 5 to 8 transpose first; then rows, columns or both are reversed."""
    if orientation >= 5:
        pixels = pixels.swapaxes(0, 1)
    if orientation in (3, 4, 7, 8):
        pixels = pixels[::-1]
    if orientation in (2, 3, 6, 7):
        pixels = pixels[:, ::-1]
    return np.ascontiguousarray(pixels)


def encode_image(pixels: np.ndarray, picture_format: str) -> bytes:
    """Return uint8 [H, W, 3] as a file of `picture_format`, one of `config.PICTURE_FORMATS`.

    PNG is lossless and quick rather than small; JPEG and WebP have quality 95.
    """
    stream = io.BytesIO()
    options: dict[str, int] = {"compress_level": 1} if picture_format == "png" else {"quality": 95}
    Image.fromarray(pixels).save(stream, picture_format.upper(), **options)
    return stream.getvalue()
