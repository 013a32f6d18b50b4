r"""Draws lines of text in any script onto sheets and figures.

Text of ASCII is drawn in Pillow's font, any other in the bundled one, which has all scripts of plane 0 and emoji. What
neither has is escaped, such as \u4e2d: never an empty box.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Iterator
from functools import cache

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from i2s_batch.images.draw.glyphs import GLYPH_HEIGHT, glyph
from i2s_batch.images.draw.writing import in_visual_order

LINE_HEIGHT = 18  # of a line of text, with the space to the next
_SIZE = 13  # of Pillow's font, which looks as large as the bundled one
_MORE = "\N{HORIZONTAL ELLIPSIS}"


def draw_text(
    pen: ImageDraw.ImageDraw, position: tuple[float, float], text: str, fill: str, width: float | None = None
) -> None:
    """Draw one line of text, cut to `width` pixels with an ellipsis.

    Args:
        pen: Draws on the image.
        position: The left upper corner of the line, which is `LINE_HEIGHT` high.
        text: Any text.
        fill: The colour.
        width: The space there is; None for as much as it needs.
    """
    mask = _mask(text if width is None else fitted(text, width))
    pen.bitmap((round(position[0]), round(position[1])), Image.fromarray(mask), fill=fill)


def text_width(text: str) -> int:
    """Return the width of a line of text in pixels."""
    width: int = _mask(text).shape[1]
    return width


def fitted(text: str, width: float) -> str:
    """Return the text, or as much of its beginning as fits into `width` pixels with an ellipsis."""
    if text_width(text) <= width:
        return text
    shortest, longest = 0, len(text)
    while shortest < longest:  # text is no wider without its last character
        middle = (shortest + longest + 1) // 2
        if text_width(text[:middle].rstrip() + _MORE) <= width:
            shortest = middle
        else:
            longest = middle - 1
    return text[:shortest].rstrip() + _MORE


def _mask(text: str) -> np.ndarray:
    """Return what is drawn of a line, uint8 [LINE_HEIGHT, width]: 0 is nothing, 255 the full colour."""
    shown = _drawable(text)
    if shown.replace(_MORE, "").isascii():
        return _of_pillow(shown)
    pieces = list(_cells(in_visual_order(shown)))
    line = np.zeros((LINE_HEIGHT, sum(advance for _, advance in pieces)), np.uint8)
    x = 0
    for bitmap, advance in pieces:
        start = max(0, x - bitmap.shape[1]) if not advance else x  # a mark stands over the character before it
        part = line[1 : 1 + GLYPH_HEIGHT, start : start + bitmap.shape[1]]
        part[bitmap[:, : part.shape[1]]] = 255
        x += advance
    return line


def _drawable(text: str) -> str:
    """Return the text with composed accents, and what cannot be drawn escaped."""
    return "".join(_shown(character) for character in unicodedata.normalize("NFC", text))


def _shown(character: str) -> str:
    if " " <= character <= "~":
        return character
    kind = unicodedata.category(character)
    if kind == "Cf" or "\N{VARIATION SELECTOR-1}" <= character <= "\N{VARIATION SELECTOR-16}":
        return ""  # joins, marks a direction or chooses a style: it has no shape of its own
    if kind in ("Zl", "Zp", "Cc", "Cs") or glyph(character) is None:
        code = ord(character)
        return f"\\x{code:02x}" if code < 0x100 else character.encode("ascii", "backslashreplace").decode()
    return character


def _cells(text: str) -> Iterator[tuple[np.ndarray, int]]:
    """Yield the bitmap of each character, and how far it moves the next one."""
    for character in text:
        bitmap = glyph(character)
        if bitmap is not None:
            yield bitmap, 0 if unicodedata.category(character) in ("Mn", "Me") else bitmap.shape[1]


def _of_pillow(text: str) -> np.ndarray:
    font = _font()
    line = Image.new("L", (max(1, round(font.getlength(text))), LINE_HEIGHT))
    ImageDraw.Draw(line).text((0, 1), text, fill=255, font=font)
    return np.asarray(line)


@cache
def _font() -> ImageFont.FreeTypeFont | ImageFont.ImageFont:
    return ImageFont.load_default(_SIZE)
