"""Puts text into the order and the shapes in which it is drawn from left to right: Hebrew, Arabic and their kin.

It covers what captions need: runs of text from right to left are turned round, numbers in them are not, and the letters
of Arabic are joined. It is no full implementation of Unicode's rules for mixed directions.
"""

from __future__ import annotations

import re
import unicodedata
from functools import cache
from itertools import groupby

_JOINED = ("isolated", "initial", "final", "medial")  # by: joins the next, plus 2 if it joins the one before
_NUMBER = re.compile(r"\d[\d.,:/-]*")
_CLOSING = frozenset(")]}>»")
_MIRRORED = str.maketrans("()[]{}<>«»", ")(][}{><»«")


def in_visual_order(text: str) -> str:
    """Return the characters of a line in the order in which they stand from left to right."""
    if not any(map(_is_right_to_left, text)):
        return text
    shaped = _joined(text)
    parts = ["".join(run) for _, run in groupby(shaped, key=_Direction(shaped))]
    return "".join(_turned(part) if any(map(_is_right_to_left, part)) else part for part in parts)


def _is_right_to_left(character: str) -> bool:
    return unicodedata.bidirectional(character) in ("R", "AL")


class _Direction:
    """Says of each character in turn whether it belongs to a run from right to left.

    A character without a direction of its own belongs to a run if one of that direction follows, or if it closes a
    bracket of the run.
    """

    def __init__(self, text: str) -> None:
        strong = [
            None if unicodedata.bidirectional(one) not in ("R", "AL", "L") else _is_right_to_left(one) for one in text
        ]
        before, self._found = False, list[bool]()
        for index, own in enumerate(strong):
            if own is None:
                following = next((other for other in strong[index:] if other is not None), False)
                self._found.append(before and (following or text[index] in _CLOSING))
            else:
                before = own
                self._found.append(own)
        self._waiting = iter(self._found)

    def __call__(self, character: str) -> bool:
        return next(self._waiting)


def _turned(run: str) -> str:
    """Return a run from right to left as it stands from left to right: marks stay after their letter, numbers whole."""
    clusters: list[str] = []
    position = 0
    while position < len(run):
        number = _NUMBER.match(run, position)
        piece = number[0] if number else run[position].translate(_MIRRORED)
        position += len(piece)
        while position < len(run) and unicodedata.combining(run[position]):
            piece += run[position]
            position += 1
        clusters.append(piece)
    return "".join(reversed(clusters))


@cache
def _shapes() -> dict[str, dict[str, str]]:
    """Return the shapes of each Arabic letter by how it is joined, from Unicode's own table."""
    found: dict[str, dict[str, str]] = {}
    for code in (*range(0xFB50, 0xFDFF), *range(0xFE70, 0xFEFD)):
        how, _, letters = unicodedata.decomposition(chr(code)).partition(" ")
        if how.strip("<>") in _JOINED and len(letters.split()) == 1:
            found.setdefault(chr(int(letters, 16)), {})[how.strip("<>")] = chr(code)
    return found


def _joined(text: str) -> str:
    """Return Arabic letters in the shapes that they have between their neighbours."""
    letters = [index for index, one in enumerate(text) if not unicodedata.combining(one)]
    shapes, result = _shapes(), list(text)
    for place, index in enumerate(letters):
        own = shapes.get(text[index])
        if own is None:
            continue
        previous = shapes.get(text[letters[place - 1]], {}) if place else {}
        following = shapes.get(text[letters[place + 1]], {}) if place + 1 < len(letters) else {}
        joins_before = "initial" in previous and "final" in own  # only letters with an initial shape join the next
        joins_after = "initial" in own and "final" in following
        how = _JOINED[joins_after + 2 * joins_before]
        result[index] = own.get(how, text[index])
    return "".join(result)
