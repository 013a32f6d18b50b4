"""Converts a loaded image of any mode to uint8 sRGB on white, band by band."""

from __future__ import annotations

import io
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
from PIL import Image, ImageCms

from i2s_batch.images.read.faults import UnsupportedImageError
from i2s_batch.images.read.tiff_pages import BITS, COMPRESSION, PHOTOMETRIC, PLANAR, SAMPLE_FORMAT

_BAND_PIXELS = 1 << 22
_WHITE_IS_ZERO = 0
_SIGNED = 2
_SIGNED_REASON = "its values are signed, and it does not say which are black and white"
_SEPARATE, _UNCOMPRESSED = 2, 1
# Floats are 0..1 if none is above this, or hardly any: sharpening and rendering overshoot.
_OVERSHOOT, _RARE = 1.5, 0.01
# Floats are 0..255 if most values are above 1 and the largest is at least this.
_LEAST_OF_255 = 64


def rgb_pixels(image: Image.Image) -> np.ndarray:
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


@dataclass(frozen=True)
class _Samples:
    """Says what the numbers of an image mean, by the tags of a TIFF; of another format they are unsigned."""

    white_is_zero: bool = False
    signed: bool = False
    bits: int = 0

    @classmethod
    def of(cls, image: Image.Image) -> _Samples:
        """Return what the tags of an image say."""
        if image.format != "TIFF":
            return cls()
        tags = image.tag_v2  # type: ignore[attr-defined]
        formats, bits = tags.get(SAMPLE_FORMAT, (1,)), tags.get(BITS, (0,))
        if tags.get(PLANAR) == _SEPARATE and (
            image.mode in ("LA", "La") or (bits[0] == 16 and tags.get(COMPRESSION) == _UNCOMPRESSED)
        ):
            raise UnsupportedImageError("its colours are stored one after the other, which is mixed up when decoded")
        return cls(tags.get(PHOTOMETRIC) == _WHITE_IS_ZERO, formats[0] == _SIGNED, int(bits[0]))


def _conversion(image: Image.Image) -> Conversion:
    """Return how to convert any band of `image`; what depends on the whole image is determined here."""
    samples = _Samples.of(image)
    if image.mode == "F":
        return _from_float(image, samples)
    if image.mode == "I" or image.mode.startswith("I;16"):
        return _from_integers(image, samples)
    if samples.signed:
        raise UnsupportedImageError(_SIGNED_REASON)
    layered = image.has_transparency_data
    colours = _colours(image, "RGB" if layered or image.mode in ("P", "PA", "1") else image.mode)
    if not layered:
        return lambda band: np.asarray(colours(band))
    return lambda band: np.asarray(_on_white(_with_alpha(band), colours))


def _with_alpha(band: Image.Image) -> Image.Image:
    return (band.convert("LA") if band.mode == "La" else band).convert("RGBA")


def _on_white(layered: Image.Image, colours: Callable[[Image.Image], Image.Image]) -> Image.Image:
    page = Image.new("RGB", layered.size, "white")
    return Image.composite(colours(layered.convert("RGB")), page, layered.getchannel("A"))


def _unsigned(band: Image.Image) -> np.ndarray:
    return np.asarray(band).astype(np.uint32)  # Pillow shows 32 unsigned bits as signed


def _from_integers(image: Image.Image, samples: _Samples) -> Conversion:
    """Return how to convert 12, 16 or 32-bit grey, of which one value may be transparent (white)."""
    largest = max(_unsigned(band).max() for _, band in _bands(image))
    if samples.signed and (samples.bits < 32 or largest > 65535):  # programs write 16 bits as signed 32
        raise UnsupportedImageError(_SIGNED_REASON)
    peak = 65535 if largest <= 65535 else 2**32 - 1
    if 8 < samples.bits < 16:
        peak = 2**samples.bits - 1
    transparent = image.info.get("transparency")

    def converted(band: Image.Image) -> np.ndarray:
        values = _unsigned(band)
        shades = np.rint((peak - values if samples.white_is_zero else values) * (255 / peak))
        if isinstance(transparent, int):
            shades[values == transparent] = 255
        return shades[..., None]

    return converted


def _from_float(image: Image.Image, samples: _Samples) -> Conversion:
    """Return how to convert floating-point grey."""
    if samples.white_is_zero:
        raise UnsupportedImageError("it has floating-point values of which zero is white")
    peak = _float_peak(image)
    return lambda band: np.rint(np.clip(np.asarray(band), 0, peak) * (255 / peak))[..., None]


def _float_peak(image: Image.Image) -> int:
    """Return which value is white, 1 or 255; raise UnsupportedImageError if that is not certain."""
    low, high, above, whole = np.inf, -np.inf, 0, True
    for _, band in _bands(image):
        values = np.asarray(band)
        low, high = np.minimum(low, values.min()), np.maximum(high, values.max())  # NaN stays NaN
        above += int((values > 1).sum())
        whole = whole and bool((values == np.rint(values)).all())
    share = above / (image.width * image.height)
    if low >= 0 and high <= 1:
        return 1
    if low >= 0 and high <= 255 and (whole or (share >= 0.5 and high >= _LEAST_OF_255)):
        return 255
    if low >= 0 and not whole and (high <= _OVERSHOOT or (share <= _RARE and np.isfinite(high))):
        return 1
    raise UnsupportedImageError(f"its floating-point values go from {low:g} to {high:g}, not 0..1 or 0..255")


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
