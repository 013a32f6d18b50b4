"""Lists of edits: .csv and .parquet files with one job a row; and of image ids, one a line."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet as pq

from i2s_batch.errors import PictureError, SourceError
from i2s_batch.storage.sources import read_bytes

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
    table = _table(source)
    known = {*columns, "strengths", "layers"}
    for name in columns:
        if name not in table.column_names:
            raise SourceError(f"{source!r} has no column {name!r}; it has {', '.join(table.column_names)}")
    other = [name for name in table.column_names if name not in known]
    if other:
        raise SourceError(f"{source!r}: column {other[0]!r} means nothing here; known are {', '.join(sorted(known))}")
    if not table.num_rows:
        raise SourceError(f"{source!r} lists no job")
    return [_row(row, columns, f"{source!r}: row {number}") for number, row in enumerate(table.to_pylist(), 1)]


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


def _table(source: str) -> pa.Table:
    try:
        data = pa.BufferReader(read_bytes(source))
    except PictureError as error:
        raise SourceError(f"the list of jobs cannot be read: {error}") from error
    try:
        if source.lower().endswith(".parquet"):
            return pq.read_table(data)
        if source.lower().endswith(".csv"):
            return pyarrow.csv.read_csv(data, convert_options=_all_text(data))
    except (pa.ArrowException, OSError) as error:
        raise SourceError(f"{source!r} cannot be read as a list of jobs: {' '.join(str(error).split())}") from error
    raise SourceError(f"{source!r} is no list of jobs: its name must end in .csv or .parquet")


def _all_text(data: pa.BufferReader) -> pyarrow.csv.ConvertOptions:
    """Ids such as 007 are no numbers."""
    header = pyarrow.csv.open_csv(data).schema.names
    data.seek(0)
    return pyarrow.csv.ConvertOptions(column_types=dict.fromkeys(header, pa.string()), strings_can_be_null=True)


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
