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
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
from PIL import Image, ImageCms, UnidentifiedImageError

from i2s_batch.errors import PictureError
from i2s_batch.images.read.bounded import BoundedFile
from i2s_batch.images.read.sniff import READABLE, describe

MAX_PIXELS = 200_000_000
# Scans of a progressive JPEG. Each is a pass over all pixels and may be a few bytes long; encoders write about ten.
MAX_SCANS = 100
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
_BAND_PIXELS = 1 << 22
_LONGEST_REASON = 200  # characters of a decoder's message, which may quote the file

# In a JPEG: a marker that is no stuffed byte, no fill byte and no restart; and the markers that end it or begin a scan.
_JPEG_MARKER = re.compile(rb"\xff[^\x00\xff\xd0-\xd7]")
_JPEG_END, _JPEG_SCAN = 0xD9, 0xDA


def decode_picture(data: bytes, max_pixels: int = MAX_PIXELS) -> np.ndarray:
    """Return uint8 [H, W, 3] sRGB, as the image is meant to be seen.

    - turned as its EXIF orientation says; the first frame of an animation
    - transparency (alpha, palette, colour key) composited on white
    - an embedded ICC profile is applied; a broken or unfitting one is ignored
    - CMYK without a profile by the plain formula; JPEG's CMYK is taken as inverted, as every viewer does
    - 16 bits scaled to 8; 32-bit integers by 65535 if none is larger, else by 2^32 - 1
    - floats by 1 if none is above 1, else taken as 0..255; any other range is an error

    Raises:
        PictureError: The file is not an image (and what it is instead), damaged, not supported or above `max_pixels`.
    """
    if not data:
        raise PictureError("the file is empty")
    # Pillow warns of oddities in files that it decodes all the same. `catch_warnings` is not for threads.
    warnings.filterwarnings("ignore", module=r"PIL\.")
    file = BoundedFile(data)
    try:
        image: Image.Image = Image.open(file, formats=FORMATS)
    except Image.DecompressionBombError as error:
        raise _too_large(error) from error
    except UnidentifiedImageError as error:
        found = describe(data)
        if found in READABLE:
            what = f"the file ({found}, {len(data)} bytes) is damaged"
            raise PictureError(f"{what}: its header cannot be read") from error
        raise PictureError(f"the file is not an image but {found}") from error
    except _DECODER_ERRORS as error:
        raise PictureError(_damaged(data, error)) from error
    file.header_read()
    width, height = image.size
    if width * height > max_pixels:
        raise PictureError(f"the image has {width} x {height} pixels; the limit is {max_pixels}")
    if image.format in ("JPEG", "MPO") and _jpeg_scans(data) > MAX_SCANS:
        raise PictureError(f"the JPEG has more than {MAX_SCANS} scans, which no encoder writes; save it again")
    if image.format == "PPM" and (reason := _slow_text(image, data)):
        raise PictureError(f"the PPM {reason}; save it as a PNG")
    try:
        if image.format == "TIFF" and _tile_pixels(image) > max_pixels:
            raise ValueError(f"a tile of it has {_tile_pixels(image)} pixels; the limit is {max_pixels}")
        if image.format == "PPM" and image.tile[0].codec_name == "ppm":  # type: ignore[attr-defined]
            image = _scaled_ppm(image, data)
        image.load()
        return _upright(_rgb(image), _orientation(image))
    except Image.DecompressionBombError as error:
        raise _too_large(error) from error
    except _DECODER_ERRORS as error:
        raise PictureError(_damaged(data, error)) from error


def _damaged(data: bytes, error: BaseException) -> str:
    words = " ".join(str(error).split()) or type(error).__name__
    reason = "".join(one if one.isprintable() else "?" for one in words[:_LONGEST_REASON])
    return f"the file ({describe(data)}, {len(data)} bytes) is damaged or not supported: {reason}"


def _too_large(error: Image.DecompressionBombError) -> PictureError:
    pixels = re.search(r"\d+", str(error))
    return PictureError(f"the image has {pixels[0] if pixels else 'too many'} pixels; the limit is {MAX_PIXELS}")


def _tile_pixels(image: Image.Image) -> int:
    """Return the pixels of a tile of a TIFF, which is decoded whole, however small the image; 0 without tiles."""
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
    values = np.frombuffer(data, np.uint8 if peak < 256 else ">u2", int(np.prod(shape)), tile.offset).reshape(shape)
    kind, white = (np.int32, 65535) if image.mode == "I" else (np.uint8, 255)
    pixels = np.empty(shape, kind)
    for row, line in zip(pixels, values, strict=True):
        row[:] = np.minimum(np.rint(line / peak * white), white)
    return Image.fromarray(pixels.squeeze(-1) if shape[2] == 1 else pixels, image.mode)


def _jpeg_scans(data: bytes) -> int:
    """Return how many scans the first image of a JPEG file has; those above the limit are not counted."""
    scans, position = 0, 2
    while scans <= MAX_SCANS and (marker := _JPEG_MARKER.search(data, position)):
        code = data[marker.start() + 1]
        if code == _JPEG_END:
            break
        scans += code == _JPEG_SCAN
        # A segment says how long it is; what it holds may look like markers.
        position = marker.end() + max(2, int.from_bytes(data[marker.end() : marker.end() + 2], "big"))
    return scans


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


def _rgb(image: Image.Image) -> np.ndarray:
    """Return uint8 [H, W, 3] sRGB of a loaded image, band by band: whole copies of a large one would take gigabytes."""
    converted = _conversion(image)
    pixels = np.empty((image.height, image.width, 3), np.uint8)
    for rows, band in _bands(image):
        pixels[rows] = converted(band)
    return pixels


def _bands(image: Image.Image) -> Iterator[tuple[slice, Image.Image]]:
    """Yield the bands of an image from top to bottom, and their rows."""
    width, height = image.size
    step = max(1, _BAND_PIXELS // width)
    for top in range(0, height, step):
        bottom = min(top + step, height)
        yield slice(top, bottom), image.crop((0, top, width, bottom))


# Converts a band of an image to numbers 0..255 that broadcast to [H, W, 3].
Conversion = Callable[[Image.Image], np.ndarray]


def _conversion(image: Image.Image) -> Conversion:
    """Return how to convert any band of `image`; what depends on the whole image is determined here."""
    if image.mode == "F":
        return _from_float(image)
    if image.mode == "I" or image.mode.startswith("I;16"):
        return _from_integers(image)
    layered = image.has_transparency_data
    colours = _colours(image, "RGB" if layered or image.mode in ("P", "PA", "1") else image.mode)
    if not layered:
        return lambda band: np.asarray(colours(band))
    return lambda band: np.asarray(_on_white(band.convert("RGBA"), colours))


def _on_white(layered: Image.Image, colours: Callable[[Image.Image], Image.Image]) -> Image.Image:
    page = Image.new("RGB", layered.size, "white")
    return Image.composite(colours(layered.convert("RGB")), page, layered.getchannel("A"))


def _unsigned(band: Image.Image) -> np.ndarray:
    return np.asarray(band).astype(np.uint32)  # Pillow shows 32 unsigned bits as signed


def _from_integers(image: Image.Image) -> Conversion:
    """Return how to convert 16 or 32-bit grey."""
    largest = max(_unsigned(band).max() for _, band in _bands(image))
    peak = 65535 if largest <= 65535 else 2**32 - 1
    return lambda band: np.rint(_unsigned(band) * (255 / peak))[..., None]


def _from_float(image: Image.Image) -> Conversion:
    """Return how to convert floating-point grey."""
    ends = np.array([(values.min(), values.max()) for values in (np.asarray(band) for _, band in _bands(image))])
    low, high = float(ends.min()), float(ends.max())
    if not (low >= 0 and high <= 255):  # also NaN
        raise ValueError(f"its floating-point values go from {low:g} to {high:g}, not 0..1 or 0..255")
    return lambda band: np.rint(np.asarray(band) * (255 if high <= 1 else 1))[..., None]


def _colours(image: Image.Image, mode: str) -> Callable[[Image.Image], Image.Image]:
    """Return how to convert bands of `image` to `mode` and then RGB, by the image's ICC profile if it is usable."""
    if mode == "LAB":
        return _by_profile(ImageCms.ImageCmsProfile(ImageCms.createProfile("LAB")), mode)
    icc = image.info.get("icc_profile")
    if icc:
        try:
            return _by_profile(ImageCms.ImageCmsProfile(io.BytesIO(icc)), mode)
        except (ImageCms.PyCMSError, OSError):  # a damaged profile, or one for another kind of pixels
            pass
    return lambda band: band.convert("RGB")


def _by_profile(profile: ImageCms.ImageCmsProfile, mode: str) -> Callable[[Image.Image], Image.Image]:
    transform = ImageCms.buildTransform(profile, ImageCms.createProfile("sRGB"), mode, "RGB")

    def converted(band: Image.Image) -> Image.Image:
        result = ImageCms.applyTransform(band if band.mode == mode else band.convert(mode), transform)
        if result is None:
            raise ValueError("the colour conversion gave no image")
        return result

    return converted


def encode_picture(pixels: np.ndarray, picture_format: str) -> bytes:
    """Return uint8 [H, W, 3] as a file of `picture_format`, one of `config.PICTURE_FORMATS`.

    PNG is lossless and quick rather than small; JPEG and WebP have quality 95.
    """
    stream = io.BytesIO()
    options: dict[str, int] = {"compress_level": 1} if picture_format == "png" else {"quality": 95}
    Image.fromarray(pixels).save(stream, picture_format.upper(), **options)
    return stream.getvalue()
