"""Makes columns of the members that describe an image: KEY.json, KEY.txt, KEY.cls, KEY.caption beside KEY.jpg."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping

import pyarrow as pa

from i2s_batch.config import Json
from i2s_batch.errors import SourceError
from i2s_batch.sources.column_types import is_writable
from i2s_batch.sources.json_columns import converted_json, joined
from i2s_batch.sources.list_rows import extra_names

MOST_COLUMNS = 1000

Values = Mapping[str, Json]


def sidecar_values(members: Mapping[str, bytes]) -> Values | None:
    """Return the values of the members of one key, by column; None if one of them cannot be read.

    Args:
        members: The bytes of each member, by its extension. The keys of a JSON object are columns; any other member
            is a column with the name of its extension.
    """
    try:
        values: dict[str, Json] = {}
        if "json" in members:
            found = json.loads(members["json"])
            json.dumps(found, ensure_ascii=False).encode()  # half a character is none
            values |= found if isinstance(found, dict) else {"json": found}
        for extension, content in members.items():
            if extension != "json":
                values.setdefault(extension, _text(extension, content))
    except (ValueError, RecursionError):
        return None
    return {name: value for name, value in values.items() if name}


def _text(extension: str, content: bytes) -> str | int:
    text = content.decode("utf-8-sig").rstrip("\r\n")
    return int(text) if extension == "cls" and text.strip().isdecimal() and len(text) < 18 else text


class SidecarColumns:
    """Learns the types of columns from all values, then makes columns of them."""

    def __init__(self, source: str) -> None:
        self._source = source
        self._types: dict[str, pa.DataType | Exception] = {}

    def learn(self, rows: Iterable[Values]) -> None:
        """Take note of the values of some rows."""
        part = list(rows)
        for name in dict.fromkeys(name for row in part for name in row):
            self._types[name] = joined(self._types.get(name), [row.get(name) for row in part])
        if len(self._types) > MOST_COLUMNS:
            raise SourceError(f"the .json members of {self._source!r} have more than {MOST_COLUMNS} different keys")

    def schema(self) -> pa.Schema:
        """Return the columns, under the names that they have in the table."""
        names = extra_names(self._source, list(self._types), -1)
        return pa.schema([(names[index], _type(kind)) for index, kind in enumerate(self._types.values())])

    def columns(self, rows: list[Values]) -> list[pa.Array]:
        """Return the columns of some rows."""
        return [
            converted_json(self._source, name, _type(kind), [_as(kind, row.get(name)) for row in rows])
            for name, kind in self._types.items()
        ]


def _type(found: pa.DataType | Exception) -> pa.DataType:
    """Return the type of a column: JSON text where the values are of several types, or of one that no table has."""
    usable = not isinstance(found, Exception) and is_writable(found) and not pa.types.is_null(found)
    return found if usable else pa.string()


def _as(found: pa.DataType | Exception, value: Json) -> Json:
    return json.dumps(value) if isinstance(found, Exception) and value is not None else value
