"""Gives the bitmaps of characters of any script, from the font that lies in `font/`: the same on every machine.

The font is a subset of GNU Unifont (SIL Open Font License 1.1, `font/LICENSE.txt`), 640 kB. It is read when the first
text that is not ASCII is drawn.
"""

from __future__ import annotations

import lzma
from functools import cache
from importlib.resources import files

import numpy as np

GLYPH_HEIGHT = 16  # pixels


@cache
def _bitmaps() -> dict[int, str]:
    """Return the bitmaps of all characters, in hexadecimal, by code point."""
    content = lzma.decompress((files("i2s_batch.images.draw") / "font" / "unifont.hex.xz").read_bytes())
    lines = (line.split(":") for line in content.decode("ascii").split())
    return {int(code, 16): bitmap for code, bitmap in lines}


def glyph(character: str) -> np.ndarray | None:
    """Return the bitmap of a character, bool [16, 8] or [16, 16]; None for one that the font lacks."""
    bitmap = _bitmaps().get(ord(character))
    if bitmap is None:
        return None
    rows = np.frombuffer(bytes.fromhex(bitmap), np.uint8).reshape(GLYPH_HEIGHT, -1)
    return np.unpackbits(rows, axis=1).astype(bool)
