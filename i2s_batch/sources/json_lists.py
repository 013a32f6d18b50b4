"""Reads lists of JSON objects: one a line (.jsonl, .ndjson), or in an array (.json)."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from typing import Any, BinaryIO

import pyarrow as pa

from i2s_batch.config import Json
from i2s_batch.errors import SourceError
from i2s_batch.sources.json_columns import converted_json, joined, plain_json_type
from i2s_batch.sources.list_rows import ListRows, PathColumn, ReadList, checked_path, extra_names, some
from i2s_batch.sources.list_text import MAX_LINE, text_lines


def read_json(source: str, file: BinaryIO, wanted: PathColumn) -> ReadList:
    """Read JSON objects; a key that one lacks is null there. A column that no table can hold becomes JSON text."""
    types: dict[str, pa.DataType | Exception] = {}
    for part in some(json_rows(source, file)):
        for name in dict.fromkeys(name for _, value in part for name in value):
            types[name] = joined(types.get(name), [value.get(name) for _, value in part])
    names = list(types)
    path_index = wanted.index(source, names)
    extra = {names[index]: given for index, given in extra_names(source, names, path_index).items()}
    found = {name: plain_json_type(source, name, types[name]) for name in extra}
    schema = pa.schema([(given, found[name]) for name, given in extra.items()])

    def parts() -> Iterator[ListRows]:
        for part in some(json_rows(source, file)):
            carried = [
                converted_json(source, name, found[name], [value.get(name) for _, value in part]) for name in extra
            ]
            paths = [checked_path(source, value.get(names[path_index], ""), position) for position, value in part]
            yield ListRows(paths, [position for position, _ in part], pa.table(carried, schema=schema))

    return schema, parts()


def json_rows(source: str, file: BinaryIO) -> Iterator[tuple[str, dict[str, Json]]]:
    """Yield the objects, each with its position ("line 3", or "row 3" of an array)."""
    with text_lines(source, file) as lines:
        if source.lower().removesuffix(".gz").endswith(".json"):
            start = lines.read(MAX_LINE + 1)
            if start.lstrip().startswith("["):
                yield from _array_rows(source, start)
                return
    with text_lines(source, file) as lines:
        yield from _line_rows(source, lines)


def _array_rows(source: str, text: str) -> Iterator[tuple[str, dict[str, Json]]]:
    if len(text) > MAX_LINE:
        raise SourceError(f"{source!r} has more than {MAX_LINE} characters; write it as .jsonl, an object a line")
    for number, value in enumerate(_loaded(source, "it", text), 1):
        if isinstance(value, str):
            value = {"path": value}  # noqa: PLW2901
        if not isinstance(value, dict):
            raise SourceError(f"{source!r}: row {number} is no JSON object")
        yield f"row {number}", value


def _line_rows(source: str, lines: Iterable[str]) -> Iterator[tuple[str, dict[str, Json]]]:
    for number, line in enumerate(lines, 1):
        if not line.strip():
            continue
        value = _loaded(source, f"line {number}", line)
        if not isinstance(value, dict):
            raise SourceError(f"{source!r}: line {number} is no JSON object")
        yield f"line {number}", value


def _loaded(source: str, position: str, text: str) -> Any:
    try:
        return json.loads(text)
    except (ValueError, RecursionError) as error:  # also of numbers without end, and of nesting
        raise SourceError(f"{source!r}: {position} is no JSON: {error}") from error
