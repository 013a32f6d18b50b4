"""Hostile and odd files of every kind, made here: by name, with what is expected of them.

A name ends in what a row of the table must say of it: `ok`, or words of its error.
"""

from __future__ import annotations

import io
import os
import socket
import struct
import zlib
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from PIL import Image, ImageCms

from tests.material import scene
from tests.storage.test_pictures import linear_profile, png, save, tiff16

OK = None  # what is expected where a picture can be read

FORMATS = {
    "JPEG": {}, "PNG": {}, "WEBP": {}, "BMP": {}, "GIF": {}, "TIFF": {"compression": "tiff_lzw"}, "PPM": {},
    "JPEG2000": {}, "AVIF": {}, "PCX": {}, "TGA": {"compression": "tga_rle"}, "ICO": {"sizes": [(24, 24)]},
}  # fmt: skip


def photo() -> Image.Image:
    return scene(1, (24, 24))


def _chunk(name: bytes, content: bytes) -> bytes:
    return struct.pack(">I", len(content)) + name + content + struct.pack(">I", zlib.crc32(name + content))


def tiff(*tags: tuple[int, int, int, int], body: bytes = bytes(64), following: int = 0) -> bytes:
    """A TIFF of 8 x 8 grey pixels, uncompressed, and `tags` (number, type, count, value) over its own."""
    own = {256: (4, 1, 8), 257: (4, 1, 8), 258: (3, 1, 8), 259: (3, 1, 1), 262: (3, 1, 1), 277: (3, 1, 1)}
    own |= {278: (4, 1, 8), 279: (4, 1, 64)} | {number: tuple(rest) for number, *rest in tags}
    place = 8 + 2 + 12 * (len(own) + (273 not in own)) + 4
    own.setdefault(273, (4, 1, place))
    entries = b"".join(struct.pack("<HHII", number, *own[number]) for number in sorted(own))
    return b"II*\0" + struct.pack("<IH", 8, len(own)) + entries + struct.pack("<I", following) + body


def gif(screen: tuple[int, int], frame: tuple[int, int]) -> bytes:
    head = b"GIF89a" + struct.pack("<HH", *screen) + b"\x80\0\0\0\0\0\xff\xff\xff"
    return head + b"," + struct.pack("<HHHH", 0, 0, *frame) + b"\0\x02\x02D\x01\0;"


def gif_with(block: bytes, number: int) -> bytes:
    """A GIF before whose picture stands a comment of so many blocks."""
    data = gif((1, 1), (1, 1))
    return data[:19] + b"!\xfe" + block * number + b"\0" + data[19:]


def bomb_ico() -> bytes:
    inner = save(Image.new("1", (15_000, 14_000)), "PNG")
    return b"\0\0\1\0\1\0" + struct.pack("<BBBBHHII", 16, 16, 0, 0, 1, 32, len(inner), 22) + inner


def scans_jpeg(scans: int) -> bytes:
    data = save(photo(), "JPEG", progressive=True)
    last = data[data.rindex(b"\xff\xda") : -2]
    return data[:-2] + last * scans + data[-2:]


def jpeg_with(segments: bytes) -> bytes:
    data = save(photo(), "JPEG")
    return data[:2] + segments + data[2:]


def segment(marker: int, content: bytes) -> bytes:
    return struct.pack(">BBH", 0xFF, marker, len(content) + 2) + content


def exif_of(*tags: tuple[int, int, int, int]) -> bytes:
    return segment(0xE1, b"Exif\0\0" + tiff(*tags))


def png_with(chunks: bytes) -> bytes:
    return png(2, 2, 8, 2, bytes(range(12)), chunks)


def shifted_jp2() -> bytes:
    """A header of 8 x 8 pixels before the stream of another picture."""
    small, large = (save(Image.new("L", size), "JPEG2000") for size in ((8, 8), (900, 900)))
    stream = b"\xff\x4f\xff\x51"
    return small[: small.index(stream)] + large[large.index(stream) :]


def animation(kind: str) -> bytes:
    more = [Image.new("RGB", (24, 24), (n, 0, 0)) for n in range(100)]
    return save(photo(), kind, save_all=True, append_images=more)


def kinds() -> Iterator[tuple[str, bytes, str | None]]:
    """Name, content, and words of the error, or OK."""
    whole = photo()
    for kind, options in FORMATS.items():
        data = save(whole, kind, **options)
        yield f"whole.{kind}", data, OK
        yield f"half.{kind}", data[: len(data) // 2], "damaged"
        yield f"few-bytes.{kind}", data[:11], "damaged|not an image but"
    yield "empty.png", b"", "the file is empty"
    yield "one-byte.png", b"\x89", "not an image but"
    yield "zeros.jpg", bytes(100_000), "nothing but zero bytes"
    yield "noise.jpg", np.random.default_rng(5).bytes(20_000), "unknown data"
    yield "page.jpg", b"<!DOCTYPE html><html>quota exceeded</html>", "an HTML page"
    yield "drawing.png", b'<svg xmlns="http://www.w3.org/2000/svg"><image href="/etc/passwd"/></svg>', "an SVG drawing"
    yield "entities.png", b'<?xml version="1.0"?><!DOCTYPE a [<!ENTITY b "c">]><a>&b;</a>', "an XML document"
    yield "script.png", b"%!PS-Adobe-3.0\n(touch PWNED) run\n", "a PostScript document"
    yield "document.png", b"%PDF-1.7\n", "a PDF document"
    yield "archive.png", b"PK\x03\x04" + bytes(50), "a ZIP archive"
    yield "pointer.png", b"version https://git-lfs.github.com/spec/v1\n", "git lfs pull"
    yield "phone.jpg", b"\0\0\0\x18ftypheic" + bytes(50), "an HEIC image"
    yield "film.jpg", b"\0\0\0\x18ftypisom" + bytes(50), "a video"
    yield "layers.png", b"8BPS\0\1" + bytes(50), "a Photoshop file"
    yield "really-a-png.jpg", save(whole, "PNG"), OK
    yield "no-ending", save(whole, "PNG"), OK
    yield "1x1.png", save(Image.new("RGB", (1, 1)), "PNG"), OK
    yield "1x20000.png", save(Image.new("RGB", (1, 20_000)), "PNG"), OK
    yield "20000x1.jpg", save(Image.new("RGB", (20_000, 1)), "JPEG"), OK
    yield "0x0.png", png(0, 0, 8, 2, b""), "damaged"
    yield "30000x30000.png", png(30_000, 30_000, 8, 2, b""), "900000000 pixels; the limit is 200000000"
    yield "2147483647x1.png", png(2**31 - 1, 1, 8, 2, b""), "2147483647 pixels; the limit is"
    yield "bomb.png", save(Image.new("1", (15_000, 14_000)), "PNG"), "210000000 pixels; the limit is 200000000"
    yield "bomb.ico", bomb_ico(), "15000 x 14000 pixels|210000000 pixels"
    yield "screen.gif", gif((65_535, 65_535), (1, 1)), "4294836225 pixels; the limit is"
    yield "frame.gif", gif((1, 1), (60_000, 60_000)), "3600000000 pixels; the limit is"
    yield "lying.jp2", shifted_jp2(), "damaged"
    yield "scans.jpg", scans_jpeg(2000), "more than 100 scans"
    yield "some-scans.jpg", scans_jpeg(20), OK
    yield "tile.tif", tiff((322, 4, 1, 1 << 19), (323, 4, 1, 1 << 11), (259, 3, 1, 8)), "a tile of it has 1073741824"
    yield "claims.tif", tiff((65_000, 7, 0xFFFFFFF0, 8), (34_665, 4, 0xFFFFFFFF, 8)), OK
    yield "own-child.tif", tiff((330, 4, 1, 8), (34_665, 4, 1, 8), following=8), OK
    yield "samples.tif", tiff((277, 3, 1, 65_535)), "not supported: its pixels are of a rare kind"
    yield "outside.tif", tiff((273, 4, 1, 0xFFFFFF00)), "damaged"
    yield "text-bomb.png", png_with(_chunk(b"zTXt", b"a\0\0" + zlib.compress(bytes(60_000_000)))), OK
    yield "icc-bomb.png", png_with(_chunk(b"iCCP", b"a\0\0" + zlib.compress(bytes(60_000_000)))), OK
    yield "chunks.png", png_with(_chunk(b"tEXt", b"a\0b") * 10_000), OK
    # Each of these took minutes, or is refused because it would.
    yield "many-chunks.png", png_with(_chunk(b"tEXt", b"a\0b") * 110_000), OK
    yield "comment.ppm", b"P6\n#" + bytes([97]) * 400_000 + b"\n2 2\n255\n" + bytes(12), "more than 300000 pieces"
    yield "text.ppm", b"P3\n7000 7000\n255\n" + b"1 " * 100, "more than 4000000 pixels written as text"
    yield "remarks.ppm", b"P3\n2 2\n255\n" + b"#\n" * 500_000 + b"1 " * 12, "more than 1000 comments"
    yield "some-remarks.ppm", b"P3\n#a\n2 2\n255\n" + b"#\n" * 9 + b"1 " * 12, OK
    yield "comment.gif", gif_with(b"\xff" + bytes([97]) * 255, 10_000), OK
    yield "long-exif.jpg", jpeg_with(segment(0xE1, b"Exif\0\0" + bytes(65_000)) * 300), OK
    yield "wrong-sum.png", save(whole, "PNG")[:-30] + bytes(30), "damaged"
    yield "exif-self.jpg", jpeg_with(exif_of((0x8769, 4, 1, 8), (0x0112, 3, 1, 1))), OK
    yield "exif-claims.jpg", jpeg_with(exif_of((0x010E, 2, 0xFFFFFFFF, 8))), OK
    yield "exif-long.jpg", jpeg_with(segment(0xE1, b"Exif\0\0" + bytes(65_000)) * 50), OK
    yield "comments.jpg", jpeg_with(segment(0xFE, b"\xff\xda" * 30_000) * 20), OK
    yield "icc-broken.jpg", save(whole, "JPEG", icc_profile=linear_profile()[:300]), OK
    yield "icc-noise.png", save(whole, "PNG", icc_profile=np.random.default_rng(6).bytes(3000)), OK
    lab = ImageCms.ImageCmsProfile(ImageCms.createProfile("LAB")).tobytes()
    yield "icc-lab.png", save(whole, "PNG", icc_profile=lab), OK
    yield "cmyk.jpg", save(whole.convert("CMYK"), "JPEG"), OK
    yield "cmyk.tif", save(whole.convert("CMYK"), "TIFF"), OK
    yield "palette.png", save(whole.convert("P"), "PNG"), OK
    yield "alpha.webp", save(whole.convert("RGBA"), "WEBP"), OK
    yield "16-bit.png", save(Image.fromarray(np.asarray(whole.convert("L")).astype(np.uint16) * 257), "PNG"), OK
    yield "16-bit.tif", tiff16(np.asarray(whole).astype(np.uint16) * 257), OK
    yield "float.tif", save(Image.fromarray(np.asarray(whole.convert("L")).astype(np.float32) / 255), "TIFF"), OK
    yield "nan.tif", save(Image.fromarray(np.full((4, 4), np.nan, np.float32)), "TIFF"), "floating-point values"
    yield "huge-float.tif", save(Image.fromarray(np.full((4, 4), 1e30, np.float32)), "TIFF"), "floating-point values"
    yield "lab.tif", save(Image.new("LAB", (8, 8)), "TIFF"), OK
    for kind in ("GIF", "PNG", "WEBP"):
        yield f"animated.{kind}", animation(kind), OK
    yield "two-pictures.jpg", save(whole, "JPEG") * 2, OK
    yield "picture-and-rubbish.jpg", save(whole, "JPEG") + b"\xff\xda<script>" * 1000, OK


NAMES: tuple[bytes, ...] = (
    b"line\nfeed.png", b"quote'\".png", b"<img src=x onerror=alert(1)>.png", b"-..png", b"a..b.png", b"%2e%2e%2f.png",
    b"; touch PWNED;.png", b"$(touch PWNED).png", b"back\\slash.png", b" leading and trailing .png ", b"-rf.png",
    b"\xff\xfe not UTF-8 \xe9.png", "\u202egnp.exe".encode(), b"\x1b[2J\x07.png", b"tab\t.png", b"?#&.png", b"*[1].png",
    b"n" * 251 + b".png", b"\xff" * 251 + b".png", "🙂é.png".encode(), b"CON.png", b"file:.png", b"s3:.png",
)  # fmt: skip


def build(folder: Path) -> dict[str, str | None]:
    """Fill `folder`; by path relative to it, as the system names it, the words of each item's error, or OK."""
    expected: dict[str, str | None] = {}

    def put(name: str, data: bytes, words: str | None) -> None:
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
        assert name not in expected
        expected[name] = words

    for name, data, words in kinds():
        put(f"kinds/{name}", data, words)
    good = save(photo(), "PNG")
    for raw in NAMES:
        put(f"names/{os.fsdecode(raw)}", good, OK)
    put("deep/" + "d/" * 250 + "deep.png", good, OK)
    expected |= _beyond_paths(folder)
    links = folder / "links"
    links.mkdir()
    for name, target, words in (
        ("nowhere.png", "gone.png", "does not exist"),
        ("itself.png", "itself.png", "symbolic links form a loop"),
        ("ping.png", "pong.png", "symbolic links form a loop"),
        ("pong.png", "ping.png", "symbolic links form a loop"),
        ("other.png", "../kinds/whole.PNG", OK),
    ):
        (links / name).symlink_to(target)
        expected[f"links/{name}"] = words
    for name, target in (("up", ".."), ("device.png", "/dev/zero"), ("random.png", "/dev/urandom")):
        (links / name).symlink_to(target)  # no items
    os.mkfifo(folder / "pipe.png")
    with socket.socket(socket.AF_UNIX) as listener:
        here = os.open(folder, os.O_RDONLY)
        listener.bind(f"/proc/self/fd/{here}/socket.png")
        os.close(here)
    return expected


def _beyond_paths(folder: Path) -> dict[str, str | None]:
    """A folder whose path is longer than the system takes (4,095 bytes), with a picture in it."""
    name = "e" * 250
    here = os.open(folder, os.O_RDONLY)
    entered = 0
    while len(os.fsencode(folder)) + 251 * entered <= 4095:
        os.mkdir(name, dir_fd=here)
        below = os.open(name, os.O_RDONLY, dir_fd=here)
        os.close(here)
        here, entered = below, entered + 1
    picture = os.open("lost.png", os.O_WRONLY | os.O_CREAT, dir_fd=here)
    os.close(picture)
    os.close(here)
    return {"/".join([name] * entered): "too long"}


def flipped(number: int) -> Iterator[tuple[str, bytes]]:
    """`number` files, of each format in turn, with some bits turned over."""
    stream = np.random.default_rng(11)
    sources = {kind: save(photo(), kind, **options) for kind, options in FORMATS.items()}
    for n in range(number):
        kind = list(sources)[n % len(sources)]
        data = bytearray(sources[kind])
        for place in stream.integers(0, len(data), int(stream.integers(1, 8))):
            data[place] ^= 1 << int(stream.integers(8))
        yield f"flipped/{n}.{kind}", bytes(data)


def png_of(colour: tuple[int, int, int]) -> bytes:
    sink = io.BytesIO()
    Image.new("RGB", (8, 8), colour).save(sink, "PNG")
    return sink.getvalue()
