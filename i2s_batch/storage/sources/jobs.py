"""Lists of edits: .csv and .parquet files with one job a row; and of image ids, one a line."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

import pyarrow as pa

from i2s_batch.errors import PictureError, SourceError
from i2s_batch.storage.sources.lists import read_csv
from i2s_batch.storage.sources.source import read_bytes
from i2s_batch.storage.tables.arrow_files import read_parquet

Number = TypeVar("Number", int, float)


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
    """The image ids in a text file, one a line, in their order; blank lines are ignored. Raises SourceError."""
    try:
        lines = read_bytes(source).decode("utf-8").splitlines()
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
    strengths = _numbers(row.get("strengths"), float, where)
    return JobRow(tuple(ids), strengths, _numbers(row.get("layers"), int, where))


def _numbers(cell: Any, kind: Callable[[Any], Number], where: str) -> tuple[Number, ...] | None:
    if cell is None or cell == "":
        return None
    try:
        if isinstance(cell, str):
            return tuple(parse_layers(cell) if kind is int else parse_strengths(cell))  # type: ignore[arg-type]
        return tuple(kind(value) for value in (cell if isinstance(cell, list) else [cell]))
    except (TypeError, ValueError) as error:
        raise SourceError(f"{where}: {error}") from error


def parse_strengths(text: str) -> list[float]:
    """'0, 0.5 1' as numbers; ValueError."""
    try:
        return [float(word) for word in _words(text)]
    except ValueError:
        raise ValueError(f"{text!r} is no list of numbers, such as 0,0.5,1") from None


def parse_layers(text: str) -> list[int]:
    """'4-7, 9' as layer numbers, ascending; ValueError."""
    found: set[int] = set()
    for word in _words(text):
        first, dash, last = word.partition("-")
        if not first.isdecimal() or (dash and not last.isdecimal()) or len(word) > 9:  # no layer has 5 digits
            raise ValueError(f"{text!r} is no list of layers, such as 4-7,9")
        found |= set(range(int(first), int(last or first) + 1))
    return sorted(found)


def _words(text: str) -> list[str]:
    return text.replace(",", " ").replace(";", " ").split()
