"""Reads lists of separated cells below a header line: .csv and .tsv, whatever separates the cells."""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import islice
from typing import BinaryIO

import pyarrow as pa
import pyarrow.compute as pc

from i2s_batch.errors import SourceError
from i2s_batch.sources.list_rows import ListRows, PathColumn, ReadList, extra_names, some
from i2s_batch.sources.list_text import text_lines

_SEPARATORS = (",", ";", "\t", "|")
_SAMPLE = 1 << 16  # characters by which the separator is found
_MAX_CELL = 1 << 26  # characters; Python's own limit, 131,072, is below what captions and embeddings have
csv.field_size_limit(max(_MAX_CELL, csv.field_size_limit()))

# What a CSV column must consist of to become numbers. Leading zeros are labels, not numbers, and longer
# integers would lose digits: both stay text.
_INTEGER = r"^-?(0|[1-9][0-9]{0,17})$"
_NUMBER = r"^-?(0|[1-9][0-9]{0,14})(\.[0-9]+)?([eE][+-]?[0-9]+)?$"


@dataclass(frozen=True)
class CellFormat:
    """Says what separates the cells of a file, and whether blanks after it belong to no cell."""

    separator: str
    skips_blanks: bool


def cell_format(sample: str, wanted: PathColumn) -> CellFormat:
    """Return how the cells of a file are separated that begins with `sample`.

    It is the separator by which the header has a wanted column, or else the one by which it has most cells.
    """
    headers = [(_header(sample, separator), separator) for separator in _SEPARATORS]
    named = [separator for header, separator in headers if _has(wanted, header)]
    separator = named[0] if named else max(headers, key=lambda one: len(one[0]))[1]
    first_line = sample.partition("\n")[0]
    blanks = f"{separator} " in first_line or re.search(rf'{re.escape(separator)} +"', sample) is not None
    return CellFormat(separator, blanks)


def _has(wanted: PathColumn, header: list[str]) -> bool:
    names = [name.strip() for name in header]
    return wanted.given in names if wanted.given is not None else wanted.found_in(names) is not None


def _header(sample: str, separator: str) -> list[str]:
    try:
        return next(csv.reader(io.StringIO(sample, newline=""), delimiter=separator), [])
    except csv.Error:
        return []


def cell_rows(source: str, file: BinaryIO, wanted: PathColumn) -> Iterator[tuple[str, list[str]]]:
    """Yield the header, empty if there is none, and the rows as long as it, each with its last line ("line 3")."""
    with text_lines(source, file, end="") as text:
        found = cell_format(text.read(_SAMPLE), wanted)
    with text_lines(source, file, end="") as lines:
        yield from _rows(source, lines, found)


def _rows(source: str, lines: Iterable[str], found: CellFormat) -> Iterator[tuple[str, list[str]]]:
    reader = csv.reader(lines, delimiter=found.separator, skipinitialspace=found.skips_blanks, strict=True)
    try:
        header = [name.strip() for name in next(reader, [])]
        yield "line 1", header
        for row in reader:
            if not row:
                continue
            if len(row) != len(header):
                where = f"{source!r}: line {reader.line_num}"
                raise SourceError(f"{where} has {len(row)} cells; the header has {len(header)}")
            yield f"line {reader.line_num}", row
    except csv.Error as error:
        raise SourceError(f"{source!r}: line {reader.line_num} is no CSV: {error}") from error


def read_csv(source: str, file: BinaryIO, wanted: PathColumn) -> ReadList:
    """Read cells below a header line; an empty cell is null; a column of numbers becomes numbers."""
    rows = cell_rows(source, file, wanted)
    _, header = next(rows)
    path_index = wanted.index(source, header)
    types = [_Type() for _ in header]
    for part in some(rows):
        for kind, column in zip(types, _columns(part), strict=True):
            kind.look(column)
    extra = extra_names(source, header, path_index)
    schema = pa.schema([(name, types[index].type) for index, name in extra.items()])

    def parts() -> Iterator[ListRows]:
        for part in some(islice(cell_rows(source, file, wanted), 1, None)):
            columns = _columns(part)
            carried = [types[index].converted(columns[index]) for index in extra]
            paths = columns[path_index].fill_null("").to_pylist()
            yield ListRows(paths, [position for position, _ in part], pa.table(carried, schema=schema))

    return schema, parts()


def _columns(rows: list[tuple[str, list[str]]]) -> list[pa.Array]:
    return [
        pa.array([cell or None for cell in column], pa.string())
        for column in zip(*(row for _, row in rows), strict=True)
    ]


class _Type:
    """Finds out whether all texts of a column are written as numbers; blanks around a number do not matter."""

    def __init__(self) -> None:
        self._empty = self._integers = self._numbers = True

    def look(self, text: pa.Array) -> None:
        """Take some of the column into account."""
        if text.null_count == len(text):
            return
        self._empty = False
        trimmed = pc.utf8_trim_whitespace(text)
        self._integers = self._integers and pc.all(pc.match_substring_regex(trimmed, _INTEGER)).as_py()
        self._numbers = self._numbers and pc.all(pc.match_substring_regex(trimmed, _NUMBER)).as_py()

    @property
    def type(self) -> pa.DataType:
        """Return the type of the column."""
        if self._empty or not (self._integers or self._numbers):
            return pa.string()
        return pa.int64() if self._integers else pa.float64()

    def converted(self, text: pa.Array) -> pa.Array:
        """Return some of the column in its type."""
        return text if pa.types.is_string(self.type) else pc.utf8_trim_whitespace(text).cast(self.type)
