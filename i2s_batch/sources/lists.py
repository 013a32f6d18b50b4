"""Reads lists of images: .txt, .csv, .jsonl and .parquet files that name one image a row."""

from __future__ import annotations

import csv
import io
import json
import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import islice
from typing import Any, BinaryIO, TextIO, TypeVar

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from i2s_batch.config import Json
from i2s_batch.errors import SourceError
from i2s_batch.parquet.arrow_files import lent_to_arrow
from i2s_batch.schema.columns import COLUMNS
from i2s_batch.sources.column_types import check_fields, plain_type

LIST_SUFFIXES = (".txt", ".csv", ".jsonl", ".parquet")
PATH_COLUMNS = ("path", "uri", "file", "filename", "image", "url")

ROWS_AT_ONCE = 8192  # rows in memory

_Item = TypeVar("_Item")

# What a CSV column must consist of to become numbers. Leading zeros are labels, not numbers, and longer
# integers would lose digits: both stay text.
_INTEGER = r"^-?(0|[1-9][0-9]{0,17})$"
# What no file name holds: NUL, and the halves of characters that JSON can spell and that stand for no byte.
_NO_NAME = re.compile("[\0\ud800-\udc7f\udd00-\udfff]")
_NUMBER = r"^-?(0|[1-9][0-9]{0,14})(\.[0-9]+)?([eE][+-]?[0-9]+)?$"


@dataclass(frozen=True)
class ListRows:
    """Holds some rows of a list in its own order: the path as written, its position, the extra columns."""

    paths: list[str]
    positions: list[str]  # "line 3" or "row 3", counted from 1
    carried: pa.Table


# The extra columns of a list, and its rows.
_List = tuple[pa.Schema, Iterator[ListRows]]


def is_list(source: str) -> bool:
    """Return whether the name of SOURCE is that of a list."""
    return source.lower().endswith(LIST_SUFFIXES)


def read_list(source: str, file: BinaryIO) -> _List:
    """Return the extra columns of the list in `file`, and its rows, some thousand at a time.

    The suffix of `source` tells the format. The type of a column depends on all of its rows: a CSV or JSONL file is
    read twice.

    Raises:
        SourceError: The list is faulty, perhaps in a late row.
    """
    schema, parts = _READERS[source.lower().rpartition(".")[2]](source, file)
    return schema, (_checked(source, rows) for rows in parts)


def _checked(source: str, rows: ListRows) -> ListRows:
    for path, position in zip(rows.paths, rows.positions, strict=True):
        _path(source, path, position)
    return rows


def _path(source: str, value: object, position: str) -> str:
    """Return the path in a row of a list; SourceError if it is none."""
    if not isinstance(value, str) or not value or _NO_NAME.search(value):
        raise SourceError(f"{source!r}: {position} holds {value!r}; every row must name an image")
    return value


def _some(items: Iterable[_Item]) -> Iterator[list[_Item]]:
    """Yield the items, as many at a time as are in memory at once."""
    waiting = iter(items)
    while part := list(islice(waiting, ROWS_AT_ONCE)):
        yield part


@contextmanager
def _lines(source: str, file: BinaryIO, end: str = "\n", errors: str = "strict") -> Iterator[TextIO]:
    """Open a file from its beginning as lines, without a byte order mark; `end` is the `newline` of `open`."""
    file.seek(0)
    text = io.TextIOWrapper(file, "utf-8-sig", errors, end)
    try:
        yield text
    except UnicodeDecodeError as error:
        raise SourceError(f"{source!r} is not UTF-8 (byte {_first_fault(file)}); save it as UTF-8") from error
    finally:
        if not file.closed:  # it is closed when not all rows were read
            text.detach()  # else it would close the file


def _first_fault(file: BinaryIO) -> int:
    """Return the position of the first byte that is not UTF-8."""
    file.seek(0)
    start = 0
    for line in file:
        try:
            line.decode()
        except UnicodeDecodeError as error:
            return start + error.start
        start += len(line)
    return start


def _read_txt(source: str, file: BinaryIO) -> _List:
    """Read one path a line; blank lines and lines that begin with '#' are ignored. Any bytes are a valid name."""

    def parts() -> Iterator[ListRows]:
        with _lines(source, file, errors="surrogateescape") as lines:
            numbered = enumerate(map(str.strip, lines), 1)
            kept = ((number, line) for number, line in numbered if line and not line.startswith("#"))
            for part in _some(kept):
                yield ListRows([line for _, line in part], [f"line {number}" for number, _ in part], pa.table({}))

    return pa.schema([]), parts()


@dataclass(frozen=True)
class Cells:
    """Holds a CSV file: its header, and its rows, each as long as the header."""

    header: list[str]
    rows: list[list[str]]


def read_csv(source: str, data: bytes) -> Cells:
    """Return the cells of `data` as text; SourceError names `source` and the line."""
    with _lines(source, io.BytesIO(data), end="") as lines:
        (_, header), *rows = _csv_rows(source, lines)
    return Cells(header, [row for _, row in rows])


def _csv_rows(source: str, lines: Iterable[str]) -> Iterator[tuple[str, list[str]]]:
    """Yield the header, empty if there is none, and the rows, each with its last line ("line 3")."""
    reader = csv.reader(lines, strict=True)
    try:
        header = next(reader, [])
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


def _read_csv(source: str, file: BinaryIO) -> _List:
    """Read comma-separated cells below a header line; an empty cell is null; a column of numbers becomes numbers."""
    with _lines(source, file, end="") as lines:
        rows = _csv_rows(source, lines)
        _, header = next(rows)
        path_column = _path_column(source, header)
        kinds = [_Kind() for _ in header]
        for part in _some(rows):
            for kind, column in zip(kinds, _columns(part), strict=True):
                kind.look(column)
    others = [index for index in range(len(header)) if index != path_column]
    schema = pa.schema([(header[index], kinds[index].type) for index in others])

    def parts() -> Iterator[ListRows]:
        with _lines(source, file, end="") as lines:
            for part in _some(islice(_csv_rows(source, lines), 1, None)):
                columns = _columns(part)
                carried = [columns[index].cast(kinds[index].type) for index in others]
                paths = columns[path_column].fill_null("").to_pylist()
                yield ListRows(paths, [position for position, _ in part], pa.table(carried, schema=schema))

    return schema, parts()


def _columns(rows: list[tuple[str, list[str]]]) -> list[pa.Array]:
    return [
        pa.array([cell or None for cell in column], pa.string())
        for column in zip(*(row for _, row in rows), strict=True)
    ]


class _Kind:
    """Finds out whether all texts of a column are written as numbers."""

    def __init__(self) -> None:
        self._empty = self._integers = self._numbers = True

    def look(self, text: pa.Array) -> None:
        """Take some of the column into account."""
        if text.null_count == len(text):
            return
        self._empty = False
        self._integers = self._integers and pc.all(pc.match_substring_regex(text, _INTEGER)).as_py()
        self._numbers = self._numbers and pc.all(pc.match_substring_regex(text, _NUMBER)).as_py()

    @property
    def type(self) -> pa.DataType:
        """Return the type of the column."""
        if self._empty or not (self._integers or self._numbers):
            return pa.string()
        return pa.int64() if self._integers else pa.float64()


def _read_jsonl(source: str, file: BinaryIO) -> _List:
    """Read one JSON object a line; a key that a line lacks is null there."""
    types: dict[str, pa.DataType | Exception] = {}
    with _lines(source, file) as lines:
        for part in _some(_json_rows(source, lines)):
            for name in dict.fromkeys(name for _, value in part for name in value):
                types[name] = _joined(types.get(name), [value.get(name) for _, value in part])
    names = list(types)
    path_name = names.pop(_path_column(source, names))
    schema = pa.schema([(name, _plain(source, name, types[name])) for name in names])

    def parts() -> Iterator[ListRows]:
        with _lines(source, file) as lines:
            for part in _some(_json_rows(source, lines)):
                carried = [_converted(source, field, [value.get(field.name) for _, value in part]) for field in schema]
                paths = [_path(source, value.get(path_name, ""), position) for position, value in part]
                yield ListRows(paths, [position for position, _ in part], pa.table(carried, schema=schema))

    return schema, parts()


def _json_rows(source: str, lines: Iterable[str]) -> Iterator[tuple[str, dict[str, Json]]]:
    """Yield the objects, each with its line ("line 3")."""
    for number, line in enumerate(lines, 1):
        if not line.strip():
            continue
        try:
            value = json.loads(line)
        except (ValueError, RecursionError) as error:  # also of numbers without end, and of nesting
            raise SourceError(f"{source!r}: line {number} is no JSON: {error}") from error
        if not isinstance(value, dict):
            raise SourceError(f"{source!r}: line {number} is no JSON object")
        yield f"line {number}", value


_MIXED = (pa.ArrowInvalid, pa.ArrowTypeError, OverflowError, UnicodeEncodeError)


def _joined(known: pa.DataType | Exception | None, values: list[Any]) -> pa.DataType | Exception:
    """Return the type of a column that was `known` so far, with some more values; the error if there is none.

    Whether the error matters is not known before the column of paths is.
    """
    if isinstance(known, Exception):
        return known
    try:
        found = pa.array(values).type
        both = [pa.schema([("column", kind)]) for kind in (known, found) if kind is not None]
        return pa.unify_schemas(both, promote_options="permissive").field("column").type
    except _MIXED as error:
        return error


def _plain(source: str, name: str, found: pa.DataType | Exception) -> pa.DataType:
    if isinstance(found, Exception):
        raise _mixed(source, name, found) from found
    return pa.string() if pa.types.is_null(found) else found


def _converted(source: str, field: pa.Field, values: list[Any]) -> pa.Array:
    try:
        return pa.array(values, field.type)
    except _MIXED as error:  # an integer that the column's float64 cannot hold
        raise _mixed(source, field.name, error) from error


def _mixed(source: str, name: str, error: Exception) -> SourceError:
    return SourceError(f"{source!r}: column {name!r} mixes types of values: {_one_line(error)}")


def _read_parquet(source: str, file: BinaryIO) -> _List:
    unreadable = f"{source!r} is no readable Parquet file"
    try:
        table = pq.ParquetFile(lent_to_arrow(file))
    except (pa.ArrowException, OSError) as error:
        raise SourceError(f"{unreadable}: {_one_line(error)}") from error
    names = table.schema_arrow.names
    path_name = names[_path_column(source, names)]
    plain = {name: plain_type(table.schema_arrow.field(name).type) for name in names}
    kind = plain.pop(path_name)
    if not (pa.types.is_string(kind) or pa.types.is_large_string(kind)):
        raise SourceError(f"{source!r}: column {path_name!r} holds {kind}; it must hold paths as text")
    for name, kind in plain.items():
        check_fields(source, name, kind)
    schema = pa.schema(plain.items())

    def parts() -> Iterator[ListRows]:
        first = 1
        try:
            for batch in table.iter_batches(ROWS_AT_ONCE, use_threads=False):
                carried = [batch[name].cast(kind) for name, kind in plain.items()]
                positions = [f"row {number}" for number in range(first, first + len(batch))]
                first += len(batch)
                rows = pa.table(carried, schema=schema)
                rows.validate(full=True)  # text may be any bytes
                yield ListRows(batch[path_name].to_pylist(), positions, rows)
        except (pa.ArrowException, OSError) as error:
            raise SourceError(f"{unreadable}: {_one_line(error)}") from error

    return schema, parts()


_READERS: dict[str, Callable[[str, BinaryIO], _List]] = {
    "txt": _read_txt,
    "csv": _read_csv,
    "jsonl": _read_jsonl,
    "parquet": _read_parquet,
}


def _path_column(source: str, names: Sequence[str]) -> int:
    """Return the index of the column of paths; check that the others can be columns of the table too."""
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


def _one_line(error: BaseException) -> str:
    return " ".join(str(error).split())
