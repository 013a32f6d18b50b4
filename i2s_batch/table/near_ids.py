"""Finds the ids of a table that look like one which it does not hold, for messages: 'did you mean ...?'."""

from __future__ import annotations

import difflib
import posixpath
import unicodedata
from collections.abc import Collection, Iterable

NAMED = 3
_COMPARED = 20_000  # ids whose every character is compared: with millions that takes minutes


def near_ids(asked: str, ids: Collection[str]) -> list[str]:
    """Return at most `NAMED` of the ids that `asked` may mean: of the same name or stem, else spelt alike."""
    wanted = _plain(asked)
    by_path = [each for each in ids if _plain(each) == wanted]
    name = posixpath.basename(wanted)
    found = by_path or [each for each in ids if posixpath.basename(_plain(each)) == name]
    stem = posixpath.splitext(name)[0]
    found = found or [each for each in ids if posixpath.splitext(posixpath.basename(_plain(each)))[0] == stem]
    if not found and len(ids) <= _COMPARED:
        found = difflib.get_close_matches(asked, ids, NAMED)
    return found[:NAMED]


def _plain(image_id: str) -> str:
    """Return an id without what is often written otherwise: case, slashes, accents, a path's first './'."""
    return unicodedata.normalize("NFC", image_id.replace("\\", "/")).casefold().removeprefix("./").strip()


def not_in(asked: str, tables: Iterable[str], ids: Collection[str]) -> str:
    """Return a message: which id is in none of the tables, and which ids may be meant."""
    near = near_ids(asked, ids)
    message = f"{asked!r} is not in {' or '.join(tables)}"
    if near:
        return f"{message}; did you mean {' or '.join(map(repr, near))}?"
    example = next(iter(ids), None)
    return message if example is None else f"{message}, whose ids are such as {example!r}"
