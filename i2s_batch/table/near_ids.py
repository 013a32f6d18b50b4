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
    wanted = _looks(asked)
    alike: tuple[list[str], ...] = ([], [], [])  # the same path, name, or stem, but for what `_looks` leaves out
    for each in ids:
        for found, mine, theirs in zip(alike, wanted, _looks(each), strict=True):
            if mine == theirs and mine and len(found) < NAMED:
                found.append(each)
    near = next((found for found in alike if found), [])
    return near or (difflib.get_close_matches(asked, ids, NAMED) if len(ids) <= _COMPARED else [])


def _looks(image_id: str) -> tuple[str, str, str]:
    """Return the path, name and stem of an id without what is often written otherwise: case, slashes, accents."""
    path = image_id.replace("\\", "/").casefold().removeprefix("./").strip()
    path = path if path.isascii() else unicodedata.normalize("NFC", path)
    name = path.rpartition("/")[2]
    return path, name, posixpath.splitext(name)[0]


def not_in(asked: str, tables: Iterable[str], ids: Collection[str]) -> str:
    """Return a message: which id is in none of the tables, and which ids may be meant."""
    near = near_ids(asked, ids)
    message = f"{asked!r} is not in {' or '.join(tables)}"
    if near:
        return f"{message}; did you mean {' or '.join(map(repr, near))}?"
    example = next(iter(ids), None)
    return message if example is None else f"{message}, whose ids are such as {example!r}"
