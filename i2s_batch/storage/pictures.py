"""The bytes of a picture file as uint8 sRGB. What a viewer on a white page would show."""

from __future__ import annotations

import io
import struct
import warnings
import zlib

import numpy as np
from PIL import Image, ImageCms, UnidentifiedImageError

from i2s_batch.errors import PictureError
from i2s_batch.storage.sniff import describe

MAX_PIXELS = 200_000_000

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

# Pillow refuses twice this: the guard for what it opens out of our sight, pictures inside an ICO.
Image.MAX_IMAGE_PIXELS = MAX_PIXELS

_ORIENTATION_TAG = 0x0112


def decode_picture(data: bytes, max_pixels: int = MAX_PIXELS) -> np.ndarray:
    """uint8 [H, W, 3] sRGB, as the picture is meant to be seen.

    - turned as its EXIF orientation says; the first frame of an animation
    - transparency (alpha, palette, colour key) composited on white
    - an embedded ICC profile is applied; a broken or unfitting one is ignored
    - CMYK without a profile by the plain formula; JPEG's CMYK is taken as inverted, as every viewer does
    - 16 bits scaled to 8; 32-bit integers by 65535 if none is larger, else by 2^32 - 1
    - floats by 1 if none is above 1, else taken as 0..255; any other range is an error

    Raises PictureError: no picture (and what it is instead), damaged, or above `max_pixels`.
    """
    if not data:
        raise PictureError("the file is empty")
    # Pillow warns of oddities in files that it decodes all the same. `catch_warnings` is not for threads.
    warnings.filterwarnings("ignore", module=r"PIL\.")
    try:
        image = Image.open(io.BytesIO(data), formats=FORMATS)
    except UnidentifiedImageError as error:
        raise PictureError(f"the file is no picture but {describe(data)}") from error
    except _DECODER_ERRORS as error:
        raise PictureError(_damaged(data, error)) from error
    width, height = image.size
    if width * height > max_pixels:
        raise PictureError(f"the picture has {width} x {height} pixels; the limit is {max_pixels}")
    try:
        image.load()
        return _upright(_rgb(image), _orientation(image))
    except _DECODER_ERRORS as error:
        raise PictureError(_damaged(data, error)) from error


def _damaged(data: bytes, error: BaseException) -> str:
    reason = " ".join(str(error).split()) or type(error).__name__
    return f"the file ({describe(data)}, {len(data)} bytes) is damaged or not supported: {reason}"


def _orientation(image: Image.Image) -> int:
    """EXIF orientation, 1 to 8; 1 if there is none. TIFF's is already applied, and its tag gone."""
    try:
        value = image.getexif().get(_ORIENTATION_TAG, 1)
    except _DECODER_ERRORS:  # the pixels are fine, only the notes about them are not
        return 1
    return value if value in range(1, 9) else 1


def _upright(pixels: np.ndarray, orientation: int) -> np.ndarray:
    """EXIF 2.3, tag 0x0112: 5 to 8 are transposed first; then the rows, the columns or both turn round."""
    if orientation >= 5:
        pixels = pixels.swapaxes(0, 1)
    if orientation in (3, 4, 7, 8):
        pixels = pixels[::-1]
    if orientation in (2, 3, 6, 7):
        pixels = pixels[:, ::-1]
    return np.ascontiguousarray(pixels)


def _rgb(image: Image.Image) -> np.ndarray:
    """uint8 [H, W, 3] sRGB of a loaded image."""
    if image.mode == "F":
        return _grey(_from_float(np.asarray(image)))
    if image.mode == "I" or image.mode.startswith("I;16"):
        return _grey(_from_integers(np.asarray(image)))
    if image.mode == "LAB":
        return _array(_converted(image, ImageCms.ImageCmsProfile(ImageCms.createProfile("LAB"))))
    if not image.has_transparency_data:
        return _array(_colours(image))
    layered = image.convert("RGBA")
    colours = _colours(layered.convert("RGB")).convert("RGB")
    page = Image.new("RGB", image.size, "white")
    return _array(Image.composite(colours, page, layered.getchannel("A")))


def _array(image: Image.Image) -> np.ndarray:
    return np.array(image.convert("RGB"), np.uint8)


def _grey(values: np.ndarray) -> np.ndarray:
    """[H, W] as [H, W, 3]."""
    return np.repeat(values[..., None], 3, axis=2)


def _from_integers(values: np.ndarray) -> np.ndarray:
    """16 or 32-bit grey [H, W] as uint8."""
    unsigned = values.astype(np.uint32)  # Pillow shows 32 unsigned bits as signed
    peak = 65535 if unsigned.max() <= 65535 else 2**32 - 1
    return np.rint(unsigned * (255 / peak)).astype(np.uint8)


def _from_float(values: np.ndarray) -> np.ndarray:
    """Floating-point grey [H, W] as uint8."""
    low, high = float(values.min()), float(values.max())
    if not (low >= 0 and high <= 255):  # also NaN
        raise ValueError(f"its floating-point values go from {low:g} to {high:g}, not 0..1 or 0..255")
    return np.rint(values * (255 if high <= 1 else 1)).astype(np.uint8)


def _colours(image: Image.Image) -> Image.Image:
    """The image in sRGB by its ICC profile, if it has a usable one; else as it is."""
    icc = image.info.get("icc_profile")  # `convert` hands it on
    if not icc:
        return image
    flat = image.convert("RGB") if image.mode in ("P", "PA", "1") else image
    try:
        return _converted(flat, ImageCms.ImageCmsProfile(io.BytesIO(icc)))
    except (ImageCms.PyCMSError, OSError):  # a damaged profile, or one for another kind of pixels
        return image


def _converted(image: Image.Image, profile: ImageCms.ImageCmsProfile) -> Image.Image:
    converted = ImageCms.profileToProfile(image, profile, ImageCms.createProfile("sRGB"), outputMode="RGB")
    if converted is None:
        raise ValueError("the colour conversion gave no image")
    return converted


def encode_picture(pixels: np.ndarray, picture_format: str) -> bytes:
    """uint8 [H, W, 3] as a file of `picture_format`, one of `config.PICTURE_FORMATS`. PNG is lossless and quick
    rather than small; JPEG and WebP have quality 95."""
    stream = io.BytesIO()
    options: dict[str, int] = {"compress_level": 1} if picture_format == "png" else {"quality": 95}
    Image.fromarray(pixels).save(stream, picture_format.upper(), **options)
    return stream.getvalue()
