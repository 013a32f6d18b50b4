"""Names what a file is from its first bytes, for the message about a file that is not an image."""

from __future__ import annotations

import re

_HEAD = 1024

_SIGNATURES: tuple[tuple[re.Pattern[bytes], str], ...] = tuple(
    (re.compile(pattern, re.DOTALL | re.IGNORECASE), meaning)
    for pattern, meaning in (
        (rb"\xff\xd8\xff", "a JPEG"),
        (rb"\x89PNG\r\n\x1a\n", "a PNG"),
        (rb"GIF8[79]a", "a GIF"),
        (rb"RIFF....WEBP", "a WebP"),
        (rb"II\*\0|MM\0\*|II\+\0|MM\0\+", "a TIFF"),
        (rb"BM", "a BMP"),
        (rb"....ftypavi[fs]", "an AVIF"),
        (
            rb"....ftyp(hei[cfxms]|hev[cmxs]|mif1|msf1)",
            "an HEIC picture (convert it to JPEG)",
        ),
        (rb"....ftyp", "a video (MP4 or QuickTime)"),
        (rb"\0\0\0\x0cjP  |\xff\x4f\xff\x51", "a JPEG 2000"),
        (rb"8BPS", "a Photoshop file (convert it to PNG)"),
        (rb"%PDF-", "a PDF document"),
        (rb"%!PS|\xc5\xd0\xd3\xc6", "a PostScript document"),
        (rb"PK\x03\x04", "a ZIP archive"),
        (rb"\x1f\x8b", "a gzip archive"),
        (rb"PAR1", "a Parquet file"),
        (rb"\x93NUMPY", "a NumPy array"),
        (rb"version https://git-lfs", "a Git LFS pointer (fetch the real file with `git lfs pull`)"),
        (rb"\s*(<\?xml[^>]*>\s*)?(<!--.*?-->\s*)?(<!doctype svg[^>]*>\s*)?<svg", "an SVG drawing"),
        (rb"\s*(<!--.*?-->\s*)?(<!doctype html|<html|<head|<body)", "an HTML page"),
        (rb"\s*<\?xml", "an XML document"),
        (rb"\s*[{\[]\s*[\"{\[\]}\d]", "JSON text"),
    )
)

# Formats that can be decoded: a file that begins as one and is not recognised is damaged.
READABLE = frozenset({"a JPEG", "a PNG", "a GIF", "a WebP", "a TIFF", "a BMP", "an AVIF", "a JPEG 2000"})

_PRINTABLE = frozenset({9, 10, 12, 13, *range(32, 127)})


def describe(data: bytes) -> str:
    """Return a few words for what `data` holds, such as 'an HTML page'."""
    head = data[:_HEAD].removeprefix(b"\xef\xbb\xbf")
    for signature, meaning in _SIGNATURES:
        if signature.match(head):
            return meaning
    if not head.strip(b"\0"):
        return "nothing but zero bytes"
    if _PRINTABLE.issuperset(head):
        return f"text that begins {head[:30].decode('ascii')!r}"
    return f"unknown data that begins with bytes {head[:8].hex(' ')}"
