"""Makes pictures of a page: small ones inside it, whole ones in files beside it."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from pathlib import Path
from urllib.parse import quote

import numpy as np
from PIL import Image

from i2s_batch.images.draw.animations import encode_animation
from i2s_batch.output.layout import RunLayout
from i2s_batch.reporting.files import ReportFiles
from i2s_batch.reporting.inlined import encoded_jpeg, inlined
from i2s_batch.reporting.parts import Picture
from i2s_batch.sources.members import is_member
from i2s_batch.sources.names import path_of_uri
from i2s_batch.storage import is_remote

SIDE = 256  # pixels of an image inside the page, at most; one that is no larger is whole there
_SHOWN_BY_BROWSERS = frozenset({".jpg", ".jpeg", ".png", ".gif", ".webp", ".bmp", ".avif"})
_FRAME_SIDE = 160
_FRAMES_PER_SECOND = 6


def digest_of(*parts: str | bytes) -> str:
    """Return what images are named after: the same for the same parts, another for others."""
    found = hashlib.sha256()
    for part in parts:
        data = part.encode("utf-8", "surrogatepass") if isinstance(part, str) else part
        found.update(b"%d:" % len(data) + data)
    return found.hexdigest()[:32]


def picture_in_page(
    what: str, pixels: np.ndarray | None, files: ReportFiles, digest: str = "", missing: str = "", side: int = SIDE
) -> Picture:
    """Return uint8 [R, R, 3] as a picture inside the page; where it is larger than `side`, a file has all of it.

    Args:
        what: What it shows: one of `RunLayout.REPORT_IMAGES` if `digest` is given.
        pixels: The image; None for one that is missing.
        files: Where the file is written.
        digest: What the file is named after; '' for no file.
        missing: The reason why it is missing.
        side: The size inside the page, in pixels.
    """
    if pixels is None:
        return Picture(what, missing=missing)
    image, whole = Image.fromarray(pixels), ""
    if image.width > side:
        whole = written(what, pixels, files, digest) if digest else ""
        image = image.resize((side, side), Image.Resampling.BOX)
    return Picture(what, inlined("jpeg", encoded_jpeg(image)), whole)


def written(what: str, pixels: np.ndarray, files: ReportFiles, digest: str) -> str:
    """Write an image, uint8 [R, R, 3], under report/ unless it is there; return its URL relative to OUT."""
    key = RunLayout.report_image(digest, what)
    if not files.exists(key):
        files.add(key, encoded_jpeg(Image.fromarray(pixels)))
    return url_of(key)


def animation_in_page(frames: Sequence[np.ndarray], whole: str) -> Picture:
    """Return frames, uint8 [R, R, 3], as a small animation inside the page; `whole`: the URL of the file, or ''."""
    side = (min(_FRAME_SIDE, frames[0].shape[1]),) * 2
    small = [np.asarray(Image.fromarray(frame).resize(side, Image.Resampling.BOX)) for frame in frames]
    data = encode_animation(lambda index: small[index], len(small), "webp", _FRAMES_PER_SECOND)
    return Picture("animation", inlined("webp", data), whole)


def url_of(key: str) -> str:
    """Return the URL of a file of the run relative to OUT."""
    return quote(key)


def original_picture(uri: str, out: str, what: str = "original") -> Picture:
    """Return the picture of an image where it is, in OUT or elsewhere on this machine.

    It is missing where no page can show it.

    Args:
        uri: The path or url of the image.
        out: The path or url of OUT.
        what: What it shows.
    """
    inside = uri.removeprefix(f"{out.rstrip('/')}/")
    if inside != uri:
        return Picture(what, url_of(inside))
    if is_member(uri):
        return Picture(what, missing=f"{what} in an archive")
    if is_remote(uri):
        return Picture(what, missing=f"{what} on S3")
    path = Path(path_of_uri(uri))
    if path.suffix.lower() not in _SHOWN_BY_BROWSERS:
        return Picture(what, missing=f"{what} not shown by browsers")
    return Picture(what, path.absolute().as_uri())
