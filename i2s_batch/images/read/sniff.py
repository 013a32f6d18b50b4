"""Names what a file is from its first bytes, for the message about a file that cannot be decoded."""

from __future__ import annotations

import re
from dataclasses import dataclass

_HEAD = 1024
# What programs print by mistake before the bytes of an image: line feeds and byte order marks.
_LEADING = re.compile(rb"(?:\xef\xbb\xbf|[\r\n\t ]){1,64}")


@dataclass(frozen=True)
class FileType:
    """Describes a type of file: its name with an article, and what to do about it.

    `decoded`: Pillow decodes this type, so that a file of it that cannot be decoded is damaged or of a rare kind.
    `image`: it is an image, of a type that is not decoded; else it is no image at all.
    """

    name: str
    remedy: str = ""
    decoded: bool = False
    image: bool = False


def _decoded(name: str) -> FileType:
    return FileType(name, decoded=True)


def _image(name: str, remedy: str = "convert it to PNG or JPEG") -> FileType:
    return FileType(name, remedy, image=True)


CAMERA_RAW = _image("a camera raw file", "convert it to TIFF or JPEG with a raw converter")
HEIC = _image("an HEIC image", "install the package pillow-heif, or convert it to JPEG")
JPEG_XL = _image("a JPEG XL image", "install the package pillow-jxl-plugin, or convert it to PNG or JPEG")
AVIF = _decoded("an AVIF")
TIFF = _decoded("a TIFF")

_SIGNATURES: tuple[tuple[re.Pattern[bytes], FileType], ...] = tuple(
    (re.compile(pattern, re.DOTALL | re.IGNORECASE), found)
    for pattern, found in (
        (rb"\xff\xd8\xff", _decoded("a JPEG")),
        (rb"\x89PNG\r\n\x1a\n", _decoded("a PNG")),
        (rb"GIF8[79]a", _decoded("a GIF")),
        (rb"RIFF....WEBP", _decoded("a WebP")),
        (rb"II\*\0\x10\0\0\0CR\x02|IIRO|IIRS|MMOR|IIU\0|FUJIFILMCCD-RAW|FOVb|\0MRM|....ftypcrx", CAMERA_RAW),
        (rb"II\*\0|MM\0\*|II\+\0|MM\0\+", TIFF),
        (rb"BM", _decoded("a BMP")),
        (rb"P[1-6]\s", _decoded("a PPM")),
        (rb"....ftypavi[fs]", AVIF),
        (rb"....ftyp(hei[cfxms]|hev[cmxs]|mif1|msf1)", HEIC),
        (rb"....ftyp", FileType("a video (MP4 or QuickTime)")),
        (rb"\x1a\x45\xdf\xa3", FileType("a video (Matroska or WebM)")),
        (rb"RIFF....AVI ", FileType("a video (AVI)")),
        (rb"\0\0\0\x0cjP  |\xff\x4f\xff\x51", _decoded("a JPEG 2000")),
        (rb"\xff\x0a|\0\0\0\x0cJXL \r\n\x87\n", JPEG_XL),
        (rb"II\xbc\x01", _image("a JPEG XR image")),
        (rb"8BPS", _image("a Photoshop file", "convert it to PNG")),
        (rb"gimp xcf", _image("a GIMP file", "export it as PNG")),
        (rb"\x76\x2f\x31\x01", _image("an OpenEXR image")),
        (rb"#\?(RADIANCE|RGBE)", _image("a Radiance HDR image")),
        (rb"DDS ", _image("a DDS texture")),
        (rb"qoif", _image("a QOI image")),
        (rb"SIMPLE  =", _image("a FITS image")),
        (rb".{128}DICM", _image("a DICOM file")),
        (rb"%PDF-", FileType("a PDF document")),
        (rb"%!PS|\xc5\xd0\xd3\xc6", FileType("a PostScript document")),
        (rb"PK\x03\x04", FileType("a ZIP archive")),
        (rb"\x1f\x8b", FileType("a gzip archive")),
        (rb"PAR1", FileType("a Parquet file")),
        (rb"\x89HDF\r\n\x1a\n", FileType("an HDF5 file")),
        (rb"\x93NUMPY", FileType("a NumPy array")),
        (
            rb"version https://git-lfs",
            FileType("a Git LFS pointer", "fetch the real file with `git lfs pull`"),
        ),
        (
            rb"\s*(<\?xml[^>]*>\s*)?(<!--.*?-->\s*)?(<!doctype svg[^>]*>\s*)?<svg",
            FileType("an SVG drawing", "convert it to PNG"),
        ),
        (rb"\s*(<!--.*?-->\s*)?(<!doctype html|<html|<head|<body)", FileType("an HTML page")),
        (rb"\s*<\?xml", FileType("an XML document")),
        (rb"\s*[{\[]\s*[\"{\[\]}\d]", FileType("JSON text")),
    )
)

# Names that only images have; a file of such a name that holds something else is a failed image.
_IMAGE_SUFFIXES = re.compile(
    r"\.(jpe?g|jpe|jfif|a?png|webp|bmp|dib|gif|tiff?|p[bgpnf]m|jp2|j2[kc]|jp[xfc]|avifs?|ico|pcx|tga|icb|vda|vst|hei[cf]|hif"
    r"|jxl|jxr|psd|xcf|exr|hdr|dds|qoi|svg|dng|nef|nrw|cr[23]|arw|orf|rw2|raf|pef|srw|x3f|3fr|iiq)$",
    re.IGNORECASE,
)

_PRINTABLE = frozenset({9, 10, 12, 13, *range(32, 127)})


def has_image_name(name: str) -> bool:
    """Return whether a file of this name should be an image."""
    return _IMAGE_SUFFIXES.search(name) is not None


def file_type(data: bytes) -> FileType:
    """Return what `data` is, such as 'an HTML page'."""
    head = data[:_HEAD].removeprefix(b"\xef\xbb\xbf")
    for signature, found in _SIGNATURES:
        if signature.match(head):
            return found
    if not head.strip(b"\0"):
        return FileType("nothing but zero bytes")
    if _PRINTABLE.issuperset(head):
        return FileType(f"text that begins {head[:30].decode('ascii')!r}")
    return FileType(f"unknown data that begins with bytes {head[:8].hex(' ')}")


def without_leading_blanks(data: bytes) -> bytes:
    """Return `data` without line feeds or a byte order mark before the signature of an image."""
    leading = _LEADING.match(data[:_HEAD])
    if leading is None or not file_type(data[leading.end() : leading.end() + _HEAD]).decoded:
        return data
    return data[leading.end() :]
