"""Messages about files that are not decoded: not an image, not supported, damaged, or beyond a limit.

"Damaged" is said only of what is damaged, and "not an image" only of what is none.
"""

from __future__ import annotations

import re
import struct
import zlib

from PIL import UnidentifiedImageError, features
from PIL.TiffImagePlugin import COMPRESSION_INFO

from i2s_batch.errors import PictureError
from i2s_batch.images.read import jpeg_segments, png_chunks, tiff_pages
from i2s_batch.images.read.faults import BeyondLimitError, DamagedImageError, UnsupportedImageError
from i2s_batch.images.read.plugins import plugin_formats
from i2s_batch.images.read.sniff import AVIF, HEIC, TIFF, FileType

_MAX_BOXES = 1000
_LONGEST_REASON = 200  # characters of a decoder's message, which may quote the file

# What the types of an error, or words in its message, say of a file of a format of which not every kind is decoded.
_DAMAGED_TYPES = (DamagedImageError, struct.error, EOFError, IndexError, zlib.error)
_DAMAGED_WORDS = re.compile(
    r"truncat|broken|corrupt|not enough|too short|unexpected|premature|damaged|seek|reading|overrun|incomplete|decod",
    re.IGNORECASE,
)
_UNSUPPORTED_WORDS = re.compile(r"support|unknown|cannot handle|unable to determine|not known", re.IGNORECASE)
# Formats of which Pillow decodes every usual kind: a file of these that cannot be decoded is damaged.
_WHOLLY_DECODED = frozenset({"a JPEG", "a PNG", "a GIF", "a WebP"})
_FEATURES = {"a WebP": "webp", "an AVIF": "avif", "a JPEG 2000": "jpg_2000"}


def refusal(data: bytes, found: FileType, error: BaseException) -> PictureError:
    """Return the error that says why `data`, of the type `found`, cannot be decoded, after `error` of a decoder."""
    unknown = isinstance(error, UnidentifiedImageError)
    if unknown and not found.decoded and not plugin_formats(found):
        return _named(found)
    what = f"the file ({found.name}, {len(data)} bytes)"
    reason = "its header cannot be read" if unknown else _one_line(error)
    if isinstance(error, BeyondLimitError):
        return PictureError(f"{what} is beyond a limit: {reason}")
    if unsupported := _unsupported(data, found, error):
        return PictureError(f"{what} is not supported: {unsupported}; convert it to PNG or JPEG")
    missing = _missing(data, found)
    if missing or _is_damaged(found, error):
        return PictureError(f"{what} is damaged: {reason}{missing and f' ({missing})'}")
    verdict = "is not supported" if _UNSUPPORTED_WORDS.search(reason) else "cannot be decoded"
    return PictureError(f"{what} {verdict}: {reason}; convert it to PNG or JPEG")


def _named(found: FileType) -> PictureError:
    if found.image:
        return PictureError(f"the file is {found.name}, which is not supported; {found.remedy}")
    remedy = f" ({found.remedy})" if found.remedy else ""
    return PictureError(f"the file is not an image but {found.name}{remedy}", is_image=False)


def _unsupported(data: bytes, found: FileType, error: BaseException) -> str:
    """Return of which kind an image is that no decoder here knows; '' if that is not what is wrong."""
    if isinstance(error, UnsupportedImageError):
        return _one_line(error)
    if found.name in _FEATURES and not features.check(_FEATURES[found.name]):
        return "the Pillow that is installed was built without this format"
    if found.name == "a JPEG":
        kind = jpeg_segments.unsupported(data)
        return f"it is {kind}" if kind else ""
    if found is TIFF and isinstance(error, (UnidentifiedImageError, LookupError)):
        return tiff_pages.unsupported(data, tuple(COMPRESSION_INFO))
    return ""


def _is_damaged(found: FileType, error: BaseException) -> bool:
    if found.name in _WHOLLY_DECODED or isinstance(error, _DAMAGED_TYPES):
        return True
    if isinstance(error, UnidentifiedImageError):
        return found is TIFF or found.name == "a BMP"  # of these the readable headers have been dealt with
    return bool(_DAMAGED_WORDS.search(str(error))) and not _UNSUPPORTED_WORDS.search(str(error))


def _missing(data: bytes, found: FileType) -> str:
    """Return how much of an image is missing, where its format tells; else ''."""
    try:
        if found.name == "a PNG":
            return png_chunks.missing_pixels(data)
        declared = len(data)
        if found.name == "a BMP":
            declared = struct.unpack_from("<I", data, 2)[0]
        elif found.name == "a WebP":
            declared = 8 + struct.unpack_from("<I", data, 4)[0]
        elif found is TIFF:
            declared += tiff_pages.missing_bytes(data)
        elif found in (AVIF, HEIC) or found.name == "a JPEG 2000":
            declared = _end_of_boxes(data)
    except (ValueError, struct.error):  # too damaged to tell
        return ""
    missing = declared - len(data)
    return f"{missing} of {declared} bytes are missing" if missing > 0 else ""


def _end_of_boxes(data: bytes) -> int:
    """Return where the last box of an ISO media file (AVIF, HEIC, JPEG 2000) ends, which may be beyond the file."""
    position = 0
    for _ in range(_MAX_BOXES):
        if position + 8 > len(data):
            break
        size = struct.unpack_from(">I", data, position)[0]
        if size == 1 and position + 16 <= len(data):
            size = struct.unpack_from(">Q", data, position + 8)[0]
        if size < 8:  # to the end of the file, or no box
            return len(data)
        position += size
    return position


def _one_line(error: BaseException) -> str:
    words = " ".join(str(error).split()) or type(error).__name__
    return "".join(one if one.isprintable() else "?" for one in words[:_LONGEST_REASON])
