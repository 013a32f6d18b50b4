"""Lists of pictures: .txt, .csv, .jsonl and .parquet files that name one picture a row."""

from __future__ import annotations

import csv
import io
import json
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import pyarrow as pa
import pyarrow.compute as pc

from i2s_batch.errors import SourceError
from i2s_batch.records import COLUMNS
from i2s_batch.storage.arrow_files import read_parquet

LIST_SUFFIXES = (".txt", ".csv", ".jsonl", ".parquet")
PATH_COLUMNS = ("path", "uri", "file", "filename", "image", "url")

# What a CSV column must consist of to become numbers. Leading zeros are labels, not numbers, and longer
# integers would lose digits: both stay text.
_INTEGER = r"^-?(0|[1-9][0-9]{0,17})$"
# What no file name holds: NUL, and the halves of letters that JSON can spell and that stand for no byte.
_NO_NAME = re.compile("[\0\ud800-\udc7f\udd00-\udfff]")
_NUMBER = r"^-?(0|[1-9][0-9]{0,14})(\.[0-9]+)?([eE][+-]?[0-9]+)?$"


@dataclass(frozen=True)
class ListRows:
    """The rows of a list in its own order: the path as written, where it stands, the other columns."""

    paths: list[str]
    places: list[str]  # "line 3" or "row 3", counted from 1
    carried: pa.Table


def is_list(source: str) -> bool:
    return source.lower().endswith(LIST_SUFFIXES)


def read_list(source: str, data: bytes) -> ListRows:
    """The rows of the list `data`, whose format the suffix of `source` tells; SourceError names the fault."""
    suffix = source.lower().rpartition(".")[2]
    rows = _READERS[suffix](source, data)
    if not rows.paths:
        raise SourceError(f"{source!r} lists no picture")
    for path, place in zip(rows.paths, rows.places, strict=True):
        if not isinstance(path, str) or not path or _NO_NAME.search(path):
            raise SourceError(f"{source!r}: {place} holds {path!r}; every row must name a picture")
    return rows


def _read_txt(source: str, data: bytes) -> ListRows:
    """One path a line; blank lines and lines that begin with '#' are ignored. Any bytes are a valid name."""
    lines = [line.strip() for line in _unmarked(data).decode("utf-8", "surrogateescape").split("\n")]
    kept = [(number, line) for number, line in enumerate(lines, 1) if line and not line.startswith("#")]
    return ListRows([line for _, line in kept], [f"line {number}" for number, _ in kept], pa.table({}))


@dataclass(frozen=True)
class Cells:
    """A CSV file: its header, its rows, each as long as the header, and their last lines ("line 3")."""

    header: list[str]
    rows: list[list[str]]
    places: list[str]


def read_csv(source: str, data: bytes) -> Cells:
    """The cells of `data`, text all of them; SourceError names `source` and the line."""
    reader = csv.reader(io.StringIO(_text(source, data), newline=""), strict=True)
    rows, places = [], []
    try:
        header = next(reader, [])
        for row in reader:
            if not row:
                continue
            if len(row) != len(header):
                where = f"{source!r}: line {reader.line_num}"
                raise SourceError(f"{where} has {len(row)} cells; the header has {len(header)}")
            rows.append(row)
            places.append(f"line {reader.line_num}")
    except csv.Error as error:
        raise SourceError(f"{source!r}: line {reader.line_num} is no CSV: {error}") from error
    return Cells(header, rows, places)


def _read_csv(source: str, data: bytes) -> ListRows:
    """Comma-separated with a header line; an empty cell is null; a column of numbers becomes numbers."""
    cells = read_csv(source, data)
    header = cells.header
    path_column = _path_column(source, header)
    columns = [[row[i] or None for row in cells.rows] for i in range(len(header))]
    paths = [path or "" for path in columns.pop(path_column)]
    names = [name for index, name in enumerate(header) if index != path_column]
    carried = [_typed(pa.array(column, pa.string())) for column in columns]
    return ListRows(paths, cells.places, pa.table(carried, names=names))


def _typed(text: pa.Array) -> pa.Array:
    """A column of text as int64 or float64 if every value is written as such a number."""
    if text.null_count == len(text):
        return text
    for pattern, numbers in ((_INTEGER, pa.int64()), (_NUMBER, pa.float64())):
        if pc.all(pc.match_substring_regex(text, pattern)).as_py():
            return text.cast(numbers)
    return text


def _read_jsonl(source: str, data: bytes) -> ListRows:
    """One JSON object a line; a key that a line lacks is null there."""
    objects, places = [], []
    for number, line in enumerate(_text(source, data).split("\n"), 1):
        if not line.strip():
            continue
        try:
            value = json.loads(line)
        except (ValueError, RecursionError) as error:  # also of numbers without end, and of nesting
            raise SourceError(f"{source!r}: line {number} is no JSON: {error}") from error
        if not isinstance(value, dict):
            raise SourceError(f"{source!r}: line {number} is no JSON object")
        objects.append(value)
        places.append(f"line {number}")
    names = list(dict.fromkeys(name for value in objects for name in value))
    path_name = names.pop(_path_column(source, names))
    carried = {}
    for name in names:
        try:
            column = pa.array([value.get(name) for value in objects])
        except (pa.ArrowInvalid, pa.ArrowTypeError, OverflowError, UnicodeEncodeError) as error:
            raise SourceError(f"{source!r}: column {name!r} mixes kinds of values: {error}") from error
        carried[name] = column.cast(pa.string()) if pa.types.is_null(column.type) else column
    paths = [value.get(path_name, "") for value in objects]
    return ListRows(paths, places, pa.table(carried))


def _read_parquet(source: str, data: bytes) -> ListRows:
    try:
        table = read_parquet(data)
    except (pa.ArrowException, OSError) as error:
        raise SourceError(f"{source!r} is no readable Parquet file: {_one_line(error)}") from error
    columns = {}
    path_name = table.column_names[_path_column(source, table.column_names)]
    for name, column in zip(table.column_names, table.columns, strict=True):
        plain = column.cast(column.type.value_type) if pa.types.is_dictionary(column.type) else column
        columns[name] = plain.cast(pa.string()) if pa.types.is_null(plain.type) else plain
    paths = columns.pop(path_name)
    if not (pa.types.is_string(paths.type) or pa.types.is_large_string(paths.type)):
        raise SourceError(f"{source!r}: column {path_name!r} holds {paths.type}; it must hold paths as text")
    places = [f"row {number}" for number in range(1, len(paths) + 1)]
    return ListRows(paths.to_pylist(), places, pa.table(columns))


_READERS: dict[str, Callable[[str, bytes], ListRows]] = {
    "txt": _read_txt,
    "csv": _read_csv,
    "jsonl": _read_jsonl,
    "parquet": _read_parquet,
}


def _path_column(source: str, names: Sequence[str]) -> int:
    """Which column holds the paths; also checks that the others can stand beside the table's own columns."""
    lower = [name.lower() for name in names]
    doubled = sorted({name for name in lower if lower.count(name) > 1})
    if doubled:
        raise SourceError(f"{source!r}: column {doubled[0]!r} appears twice (SQL ignores case); rename one")
    chosen = next((lower.index(name) for name in PATH_COLUMNS if name in lower), None)
    if chosen is None:
        raise SourceError(
            f"{source!r} has no column of paths; it has {', '.join(names) or 'no columns'}; "
            f"name one of them {', '.join(PATH_COLUMNS[:-1])} or {PATH_COLUMNS[-1]}"
        )
    taken = {column.name for column in COLUMNS}
    for index, name in enumerate(lower):
        if index != chosen and name in taken:
            raise SourceError(f"{source!r}: column {names[index]!r} is a column of the output too; rename it")
    return chosen


def _unmarked(data: bytes) -> bytes:
    return data.removeprefix(b"\xef\xbb\xbf")  # the byte order mark that some editors write


def _text(source: str, data: bytes) -> str:
    try:
        return _unmarked(data).decode("utf-8")
    except UnicodeDecodeError as error:
        raise SourceError(f"{source!r} is not UTF-8 (byte {error.start}); save it as UTF-8") from error


def _one_line(error: BaseException) -> str:
    return " ".join(str(error).split())
