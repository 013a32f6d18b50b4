"""Lists of edits: .csv and .parquet files with one job a row; and of image ids, one a line."""

from __future__ import annotations

import io
import math
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

import pyarrow as pa

from i2s_batch.config import MOST_STRENGTHS
from i2s_batch.errors import PictureError, SourceError
from i2s_batch.parquet.arrow_files import read_parquet
from i2s_batch.sources.image_bytes import read_bytes
from i2s_batch.sources.lists import read_csv

Number = TypeVar("Number", int, float)

MOST_LAYERS = 1000  # more than any generator has
_LAYERS = re.compile(r"([0-9]{1,3})(?:-([0-9]{1,3}))?")


@dataclass(frozen=True)
class Kind(Generic[Number]):
    """Describes a list of numbers: `parse` takes it from a text, `check` from the values of a Parquet list."""

    parse: Callable[[str], list[Number]]
    check: Callable[[Sequence[Any]], list[Number]]


@dataclass(frozen=True)
class JobRow:
    """The image ids in the order of the asked columns; None where the row says nothing of strengths or layers."""

    ids: tuple[str, ...]
    strengths: tuple[float, ...] | None
    layers: tuple[int, ...] | None


def read_jobs(source: str, columns: Sequence[str]) -> list[JobRow]:
    """The rows of the list at `source`, a local path or s3://: ids in `columns`, which it must have, and
    `strengths` and `layers`, which it may have.

    Both are lists of numbers: in a CSV separated by spaces, commas or semicolons, layers also as ranges (4-7).
    Raises SourceError, naming the row.
    """
    names, rows = _cells(source)
    known = {*columns, "strengths", "layers"}
    for name in columns:
        if name not in names:
            raise SourceError(f"{source!r} has no column {name!r}; it has {', '.join(names) or 'no columns'}")
    other = [name for name in names if name not in known]
    if other:
        raise SourceError(f"{source!r}: column {other[0]!r} means nothing here; known are {', '.join(sorted(known))}")
    if not rows:
        raise SourceError(f"{source!r} lists no job")
    return [_row(row, columns, f"{source!r}: row {number}") for number, row in enumerate(rows, 1)]


def read_ids(source: str) -> list[str]:
    """Return the image ids in a text file, one a line, in their order; blank lines are ignored. Raises SourceError.

    A byte order mark at the beginning and any ends of lines that editors write are no part of an id.
    """
    try:
        text = io.TextIOWrapper(io.BytesIO(read_bytes(source)), "utf-8-sig")
        lines = [line.removesuffix("\n") for line in text]
    except (PictureError, UnicodeDecodeError) as error:
        raise SourceError(f"the list of ids {source!r} cannot be read: {error}") from error
    ids = [line for line in lines if line.strip()]
    if not ids:
        raise SourceError(f"{source!r} lists no image id")
    return ids


def _cells(source: str) -> tuple[list[str], list[dict[str, Any]]]:
    """The columns of a list, and its rows. In a CSV everything is text: ids such as 007 are no numbers."""
    try:
        data = read_bytes(source)
    except PictureError as error:
        raise SourceError(f"the list of jobs cannot be read: {error}") from error
    if source.lower().endswith(".csv"):
        cells = read_csv(source, data)
        return cells.header, [dict(zip(cells.header, row, strict=True)) for row in cells.rows]
    if source.lower().endswith(".parquet"):
        try:
            table = read_parquet(data)
        except (pa.ArrowException, OSError) as error:
            raise SourceError(f"{source!r} is no readable Parquet file: {' '.join(str(error).split())}") from error
        return table.column_names, table.to_pylist()
    raise SourceError(f"{source!r} is no list of jobs: its name must end in .csv or .parquet")


def _row(row: dict[str, Any], columns: Sequence[str], where: str) -> JobRow:
    ids = []
    for name in columns:
        if not isinstance(row[name], str) or not row[name]:
            raise SourceError(f"{where} has no image id in {name!r} ({row[name]!r})")
        ids.append(row[name])
    strengths = _numbers(row.get("strengths"), STRENGTHS, where)
    return JobRow(tuple(ids), strengths, _numbers(row.get("layers"), LAYERS, where))


def _numbers(cell: Any, kind: Kind[Number], where: str) -> tuple[Number, ...] | None:
    if cell is None or cell == "":
        return None
    try:
        if isinstance(cell, str):
            return tuple(kind.parse(cell))
        return tuple(kind.check(cell if isinstance(cell, list) else [cell]))
    except ValueError as error:
        raise SourceError(f"{where}: {error}") from error


def parse_strengths(text: str) -> list[float]:
    """Return '0, 0.5 1' as numbers; ValueError for what is no number, or not finite, and for none."""
    try:
        numbers = [float(word) for word in _words(text)]
    except ValueError:
        raise ValueError(f"{text!r} is no list of numbers, such as 0,0.5,1") from None
    return check_strengths(numbers)


def check_strengths(values: Sequence[Any]) -> list[float]:
    """Return the values as finite numbers; ValueError if one is none, or if there are none or too many."""
    _check_count("strengths", values, MOST_STRENGTHS)
    for value in values:
        if isinstance(value, bool) or not isinstance(value, (int, float)) or not math.isfinite(value):
            raise ValueError(f"the strength {value!r} is no finite number; give numbers such as 0,0.5,1")
    return [float(value) for value in values]


def parse_layers(text: str) -> list[int]:
    """Return '4-7, 9' as layer numbers, ascending; ValueError for what is none, and for none."""
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


def check_layers(values: Sequence[Any]) -> list[int]:
    """Return the values as layer numbers, ascending, each once; ValueError if one is none, and if there are none."""
    _check_count("layers", values, MOST_LAYERS)
    for value in values:
        whole = not isinstance(value, bool) and isinstance(value, (int, float)) and value == value // 1
        if not whole or not 0 <= value < MOST_LAYERS:
            raise ValueError(f"{value!r} is no layer; give whole numbers from 0 to {MOST_LAYERS - 1}")
    return sorted({int(value) for value in values})


def _check_count(what: str, values: Sequence[Any], most: int) -> None:
    if not values or len(values) > most:
        raise ValueError(f"{len(values)} {what} are given; give from 1 to {most}, or leave the cell or option out")


def _words(text: str) -> list[str]:
    return text.replace(",", " ").replace(";", " ").split()


STRENGTHS = Kind(parse_strengths, check_strengths)
LAYERS = Kind(parse_layers, check_layers)
