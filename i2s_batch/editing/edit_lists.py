"""Reads edit lists, files with one edit a row, and lists of image ids."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Generic, TypeVar

from i2s_batch.config import MOST_STRENGTHS
from i2s_batch.editing.requests import ListedEdit
from i2s_batch.errors import PictureError, SourceError
from i2s_batch.sources.image_bytes import read_bytes
from i2s_batch.sources.list_text import LIST_SUFFIXES, is_list
from i2s_batch.sources.lists import read_cells, read_image_ids

Number = TypeVar("Number", int, float)

MOST_LAYERS = 1000  # more than any generator has
_ALL_LAYERS = range(MOST_LAYERS)
_LAYERS = re.compile(r"([0-9]{1,3})(?:-([0-9]{1,3}))?")


@dataclass(frozen=True)
class NumberList(Generic[Number]):
    """Describes a list of numbers: `parse` reads it from a text, `check` from the values of a Parquet list."""

    parse: Callable[[str], list[Number]]
    check: Callable[[Sequence[object]], list[Number]]


@dataclass(frozen=True)
class _Row:
    """Holds the cells of a row, and where it is, for messages. A column that the list lacks holds None."""

    ids: tuple[object, ...]
    strengths: object
    layers: object
    where: str


def read_edit_list(source: str, roles: Sequence[str]) -> list[ListedEdit]:
    """Return the rows of the list at `source`, a local path or s3://.

    Its columns are `roles`, with image ids, which it must have, and `strengths` and `layers`, which it may have. Both
    are lists of numbers: in a CSV separated by spaces, commas or semicolons, layers also as ranges (4-7).

    Raises:
        SourceError: The list cannot be read, or a row, which the message names, holds something else.
    """
    header, cells = _cells(source, roles)
    known = {*roles, "strengths", "layers"}
    for name in roles:
        if name not in header:
            raise SourceError(f"{source!r} has no column {name!r}; it has {', '.join(header) or 'no columns'}")
    other = [name for name in header if name not in known]
    if other:
        raise SourceError(f"{source!r}: column {other[0]!r} is not known; an edit list has {', '.join(sorted(known))}")
    if not cells:
        raise SourceError(f"{source!r} lists no edit")
    at = {name: column for column, name in enumerate(header)}
    strengths, layers = at.get("strengths"), at.get("layers")
    edits = []
    for number, row in enumerate(cells, 1):
        ids = tuple(row[at[name]] for name in roles)
        of_strengths, of_layers = (None if column is None else row[column] for column in (strengths, layers))
        edits.append(_listed(_Row(ids, of_strengths, of_layers, f"{source!r}: row {number}"), roles))
    return edits


def read_ids(source: str) -> list[str]:
    """Return the image ids in a list, in their order: of text one a line, of other lists the column `image_id` or `id`.

    Raises:
        SourceError: The list cannot be read, or has no id.
    """
    try:
        data = read_bytes(source)
    except PictureError as error:
        raise SourceError(f"the list of ids {source!r} cannot be read: {error}") from error
    ids = list(read_image_ids(source, data))
    if not ids:
        raise SourceError(f"{source!r} lists no image id")
    return ids


def _cells(source: str, roles: Sequence[str]) -> tuple[list[str], list[Sequence[object]]]:
    """Return the header of a list, and the cells of its rows. In a CSV all are text: ids such as 007 are no numbers."""
    try:
        data = read_bytes(source)
    except PictureError as error:
        raise SourceError(f"the edit list cannot be read: {error}") from error
    if not is_list(source):
        raise SourceError(f"{source!r} is no edit list: its name must end in one of {', '.join(LIST_SUFFIXES)}")
    cells = read_cells(source, data, roles)
    if cells is None:
        raise SourceError(f"{source!r} is no edit list: its first line must name the columns {', '.join(roles)}")
    return cells.header, cells.rows


def _listed(row: _Row, roles: Sequence[str]) -> ListedEdit:
    ids = []
    for name, image_id in zip(roles, row.ids, strict=True):
        if not isinstance(image_id, str) or not image_id:
            raise SourceError(f"{row.where} has no image id in {name!r} ({image_id!r})")
        ids.append(image_id)
    strengths = _numbers(row.strengths, STRENGTHS, row.where)
    return ListedEdit(tuple(ids), strengths, _numbers(row.layers, LAYERS, row.where))


def _numbers(cell: object, kind: NumberList[Number], where: str) -> tuple[Number, ...] | None:
    if cell is None or cell == "":
        return None
    try:
        if isinstance(cell, str):
            return tuple(kind.parse(cell))
        return tuple(kind.check(cell if isinstance(cell, list) else [cell]))
    except ValueError as error:
        raise SourceError(f"{where}: {error}") from error


def parse_strengths(text: str) -> list[float]:
    """Return '0, 0.5 1' as numbers.

    Raises:
        ValueError: A word is no finite number, or there is none.
    """
    try:
        numbers = [float(word) for word in _words(text)]
    except ValueError:
        raise ValueError(f"{text!r} is no list of numbers, such as 0,0.5,1") from None
    return check_strengths(numbers)


def check_strengths(values: Sequence[object]) -> list[float]:
    """Return the values as finite numbers.

    Raises:
        ValueError: A value is no finite number, or there are none or too many.
    """
    _check_count("strengths", values, MOST_STRENGTHS)
    strengths = []
    for value in values:
        if isinstance(value, bool) or not isinstance(value, (int, float)) or not math.isfinite(value):
            raise ValueError(f"the strength {value!r} is no finite number; give numbers such as 0,0.5,1")
        strengths.append(float(value))
    return strengths


def parse_layers(text: str) -> list[int]:
    """Return '4-7, 9' as layer numbers, in ascending order.

    Raises:
        ValueError: A word is no layer or range of layers, or there is none.
    """
    found: set[int] = set()
    for word in _words(text):
        match = _LAYERS.fullmatch(word)
        if match is None:
            raise ValueError(f"{text!r} is no list of layers, such as 4-7,9 (from 0 to {MOST_LAYERS - 1})")
        first, last = int(match[1]), int(match[2] or match[1])
        if last < first:
            raise ValueError(f"{word!r} in {text!r} is no range of layers; write {last}-{first}")
        found |= set(range(first, last + 1))
    return check_layers(sorted(found))


def check_layers(values: Sequence[object]) -> list[int]:
    """Return the values as layer numbers, in ascending order, each once.

    Raises:
        ValueError: A value is no layer, or there are none or too many.
    """
    _check_count("layers", values, MOST_LAYERS)
    layers = set()
    for value in values:
        if isinstance(value, bool) or not isinstance(value, (int, float)) or value not in _ALL_LAYERS:
            raise ValueError(f"{value!r} is no layer; give whole numbers from 0 to {MOST_LAYERS - 1}")
        layers.add(int(value))
    return sorted(layers)


def _check_count(what: str, values: Sequence[object], most: int) -> None:
    if not values or len(values) > most:
        raise ValueError(f"{len(values)} {what} are given; give from 1 to {most}, or leave the cell or option out")


def _words(text: str) -> list[str]:
    return text.replace(",", " ").replace(";", " ").split()


STRENGTHS = NumberList(parse_strengths, check_strengths)
LAYERS = NumberList(parse_layers, check_layers)
