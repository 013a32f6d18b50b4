"""Holds what the readers of lists share: rows, the column of the paths, and the names of the others."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import TypeVar

import pyarrow as pa

from i2s_batch.errors import SourceError
from i2s_batch.schema.columns import COLUMNS

PATH_COLUMNS = (
    "path", "uri", "file", "filename", "image", "url", "file_name", "filepath", "file_path", "image_path", "img", "key",
)  # fmt: skip
ID_COLUMNS = ("image_id", "id")
ROWS_AT_ONCE = 8192  # rows in memory
OF_LIST = "list_"  # before the name of a column that the table has itself

_Item = TypeVar("_Item")

# What no file name holds: NUL, and the halves of characters that JSON can spell and that stand for no byte.
_NO_NAME = re.compile("[\0\ud800-\udc7f\udd00-\udfff]")


@dataclass(frozen=True)
class ListRows:
    """Holds some rows of a list in its own order: the path as written, its position, the extra columns."""

    paths: list[str]
    positions: list[str]  # "line 3" or "row 3", counted from 1
    carried: pa.Table


# The extra columns of a list, and its rows.
ReadList = tuple[pa.Schema, Iterator[ListRows]]


@dataclass(frozen=True)
class PathColumn:
    """Says which column holds the paths: the one that is `given`, or else the first of `usual`, whatever its case."""

    given: str | None = None
    usual: tuple[str, ...] = PATH_COLUMNS

    def index(self, source: str, names: Sequence[str]) -> int:
        """Return the index of the column of paths; raise SourceError if there is none."""
        lower = [name.lower() for name in names]
        has = f"it has {', '.join(filter(None, names)) or 'no columns'}"
        if self.given is not None:
            if self.given in names:
                return names.index(self.given)
            if self.given.lower() in lower:
                return lower.index(self.given.lower())
            raise SourceError(f"{source!r} has no column {self.given!r}; {has}")
        found = self.found_in(names)
        if found is not None:
            return found
        usual = f"{', '.join(self.usual[:-1])} or {self.usual[-1]}"
        raise SourceError(
            f"{source!r} has no column of paths; {has}; name one of them {usual}, or give --path-column NAME"
        )

    def found_in(self, names: Sequence[str]) -> int | None:
        """Return the index of the first usual name."""
        lower = [name.lower() for name in names]
        return next((lower.index(name) for name in self.usual if name in lower), None)


def extra_names(source: str, names: Sequence[str], path_index: int) -> dict[int, str]:
    """Return the names that the extra columns have in the table, by their index in the list.

    A column without a name, such as the index that pandas writes, is left out. A name that the table has itself gets a
    prefix. Raises SourceError for names that SQL cannot tell apart.
    """
    lower = [name.lower() for name in names if name]
    doubled = sorted({name for name in lower if lower.count(name) > 1})
    if doubled:
        raise SourceError(f"{source!r}: column {doubled[0]!r} appears twice (SQL ignores case); rename one")
    return {index: _free(name, lower) for index, name in enumerate(names) if index != path_index and name}


def _free(name: str, others: Sequence[str]) -> str:
    """Return the name that a list's column has in a table; `others`: the columns of the list, in small letters."""
    taken, given = {column.name for column in COLUMNS}, name
    while given.lower() in taken or (given != name and given.lower() in others):
        given = OF_LIST + given
    return given


def names_in_new_table(names: Sequence[str]) -> list[str]:
    """Return the names that the columns of a plan, with its image_id and uri, have in a table of this version.

    A list's column may have had a name that is one of the table's now.
    """
    lower = [name.lower() for name in names]
    return [name if name in ("image_id", "uri") else _free(name, lower) for name in names]


def checked_path(source: str, value: object, position: str) -> str:
    """Return the path in a row of a list; raise SourceError if it is none."""
    if not isinstance(value, str) or not value or _NO_NAME.search(value):
        raise SourceError(f"{source!r}: {position} holds {value!r}; every row must name an image")
    return value


def some(items: Iterable[_Item]) -> Iterator[list[_Item]]:
    """Yield the items, as many at a time as are in memory at once."""
    waiting = iter(items)
    while part := list(islice(waiting, ROWS_AT_ONCE)):
        yield part


def one_line(error: BaseException) -> str:
    """Return the message of an error in one line."""
    return " ".join(str(error).split())
