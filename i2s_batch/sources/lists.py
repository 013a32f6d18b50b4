"""Reads lists: files that name one image, or one edit, a row.

Every list is read here, whatever it is for: a SOURCE, the ids of `--ids`, the edits of `--edit-list`.
"""

from __future__ import annotations

import io
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import BinaryIO

import pyarrow as pa

from i2s_batch.errors import SourceError
from i2s_batch.parquet.arrow_files import read_parquet
from i2s_batch.sources.csv_lists import cell_rows, read_csv
from i2s_batch.sources.json_lists import json_rows, read_json
from i2s_batch.sources.list_rows import ID_COLUMNS, ListRows, PathColumn, ReadList, checked_path, one_line
from i2s_batch.sources.list_text import format_of, text_lines, uncompressed
from i2s_batch.sources.parquet_lists import read_parquet_list
from i2s_batch.sources.text_lists import read_txt


def read_list(source: str, file: BinaryIO, wanted: PathColumn) -> ReadList:
    """Return the extra columns of the list in `file`, and its rows, some thousand at a time.

    The suffix of `source` tells the format. The type of a column depends on all of its rows: a list of text is read
    twice.

    Raises:
        SourceError: The list is faulty, perhaps in a late row.
    """
    file, name = uncompressed(source, file), format_of(source)
    if name == "txt":
        schema, parts = read_txt(source, file)
    elif name in ("csv", "tsv"):
        schema, parts = read_csv(source, file, wanted)
    elif name == "parquet":
        schema, parts = read_parquet_list(source, file, wanted)
    else:
        schema, parts = read_json(source, file, wanted)
    return schema, (_checked(source, rows) for rows in parts)


def _checked(source: str, rows: ListRows) -> ListRows:
    for path, position in zip(rows.paths, rows.positions, strict=True):
        checked_path(source, path, position)
    return rows


@dataclass(frozen=True)
class Cells:
    """Holds a small list whole: the names of its columns, and its rows, each as long as these."""

    header: list[str]
    rows: list[Sequence[object]]


def read_cells(source: str, data: bytes, wanted: Sequence[str]) -> Cells | None:
    """Return the cells of a list of a few columns, such as an edit list; None for text that has no columns.

    In a CSV all are text: ids such as 007 are no numbers. A text file is a CSV if its first line names one of the
    columns `wanted`, as the results of a query do.

    Raises:
        SourceError: The list cannot be read.
    """
    column = PathColumn(usual=tuple(wanted))
    file, name = uncompressed(source, io.BytesIO(data)), format_of(source)
    if name == "parquet":
        return _parquet_cells(source, data)
    if name in ("jsonl", "ndjson", "json"):
        objects = [value for _, value in json_rows(source, file)]
        names = list(dict.fromkeys(name for value in objects for name in value))
        return Cells(names, [[value.get(name) for name in names] for value in objects])
    if name == "txt" or not name:
        text = _text_rows(source, file, column)
        return None if text is None else Cells(text[0], list(text[1:]))
    rows = cell_rows(source, file, column)
    _, header = next(rows)
    return Cells(header, [row for _, row in rows])


def _text_rows(source: str, file: BinaryIO, column: PathColumn) -> list[list[str]] | None:
    with text_lines(source, file, errors="surrogateescape") as lines:
        first = next(lines, "")
    rows = cell_rows(source, io.BytesIO(first.encode(errors="surrogateescape")), column)
    try:
        _, header = next(rows)
    except SourceError:  # no header: the first line is an id
        return None
    if column.found_in(header) is None:
        return None
    return [row for _, row in cell_rows(source, file, column)]


def _parquet_cells(source: str, data: bytes) -> Cells:
    try:
        table = read_parquet(data)
    except (pa.ArrowException, OSError) as error:
        raise SourceError(f"{source!r} is no readable Parquet file: {one_line(error)}") from error
    return Cells(table.column_names, list(zip(*(column.to_pylist() for column in table.columns), strict=True)))


def read_image_ids(source: str, data: bytes) -> Iterator[str]:
    """Yield the image ids of a list: of text one a line, of other lists those in the column `image_id` or `id`.

    A byte order mark at the beginning and any ends of lines that editors write are no part of an id.

    Raises:
        SourceError: The list cannot be read, or has no such column, or a row has no id.
    """
    cells = read_cells(source, data, ID_COLUMNS)
    if cells is None:
        with text_lines(source, uncompressed(source, io.BytesIO(data)), end=None) as lines:
            yield from (line.removesuffix("\n") for line in lines if line.strip())
        return
    index = PathColumn(usual=ID_COLUMNS).found_in(cells.header)
    if index is None:
        has = ", ".join(cells.header) or "no columns"
        raise SourceError(f"{source!r} has no column of image ids; it has {has}; name one of them image_id")
    for number, row in enumerate(cells.rows, 1):
        yield checked_path(source, row[index], f"row {number}")
