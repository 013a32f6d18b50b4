"""Joins images with the members beside them that describe them: KEY.jpg with KEY.json, KEY.txt, ... of an archive.

The members are sorted outside memory, so that those of one key come together; they become columns of their image.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from itertools import islice

import pyarrow as pa

from i2s_batch.errors import SourceError
from i2s_batch.parquet.sorted_rows import SpilledRows, sorted_rows
from i2s_batch.plurals import counted
from i2s_batch.sources.items import IMAGE, Item, image_table
from i2s_batch.sources.sidecars import SidecarColumns, Values, sidecar_values

ROWS_AT_ONCE = 4096
# A member: what it is sorted by, its id, its uri, its extension and, if it describes another, its bytes.
MEMBERS = pa.schema(
    [(name, pa.string()) for name in ("image_id", "id", "uri", "extension")] + [("content", pa.binary())]
)
# After the key in what members are sorted by, so that those of one key come together.
_AFTER_KEY = "\0"

MemberRow = tuple[str, str, str, str, bytes | None]


def member_row(key: str, extension: str, image_id: str, uri: str, content: bytes | None) -> MemberRow:
    """Return a member as a row of MEMBERS; `content`: its bytes if it describes the image of the same key."""
    return f"{key}{_AFTER_KEY}{extension}", image_id, uri, extension.lower(), content


def member_table(rows: list[MemberRow]) -> pa.Table:
    """Return some members as a table."""
    columns = zip(zip(*rows, strict=True), MEMBERS.types, strict=True)
    return pa.table([pa.array(column, kind) for column, kind in columns], schema=MEMBERS)


class DescribedImages:
    """Makes images with columns of members."""

    def __init__(self, source: str, members: Iterable[pa.Table], report: Callable[[str], None]) -> None:
        """Take the members of `source`, in any order, as tables of MEMBERS."""
        self._source, self._report = source, report
        self._members = sorted_rows(members, MEMBERS)
        self._undescribed = 0

    def images(self) -> SpilledRows:
        """Return the images, sorted by id, with the columns that the members beside them describe."""
        columns = SidecarColumns(self._source)
        for described in _some(self._described()):
            columns.learn(values for _, values in described if values)
        schema = pa.schema([*IMAGE, *columns.schema()])
        images = sorted_rows(self._tables(columns, schema), schema)
        if self._undescribed:
            self._report(f"{counted(self._undescribed, 'image')} of {self._source!r}: the .json or text beside cannot "
                         "be read; its columns are null")  # fmt: skip
        return images

    def _described(self) -> Iterator[tuple[Item, Values]]:
        """Yield the images in the order of their keys, each with what the members of its key say."""
        self._undescribed = 0
        for group in _groups(self._source, self._members):
            images = [(name, uri) for name, uri, _, content in group if content is None]
            sidecars = {extension: content for *_, extension, content in group if content is not None}
            if not images:  # files that describe nothing are files like others
                yield from (((name, uri), {}) for name, uri, *_ in group)
                continue
            values = sidecar_values(sidecars) if sidecars else {}
            self._undescribed += values is None
            yield from ((image, values or {}) for image in images)

    def _tables(self, columns: SidecarColumns, schema: pa.Schema) -> Iterator[pa.Table]:
        for described in _some(self._described()):
            table = image_table([item for item, _ in described])
            arrays = columns.columns([values for _, values in described])
            yield pa.table([*table.columns, *arrays], schema=schema)


def _groups(source: str, members: SpilledRows) -> Iterator[list[tuple[str, str, str, bytes | None]]]:
    """Yield the members of each key: id, uri, extension, bytes."""
    group: list[tuple[str, str, str, bytes | None]] = []
    last, key = None, None
    for rows in members.parts():
        for sort_key, *member in zip(*(column.to_pylist() for column in rows.columns), strict=True):
            name, uri, extension, content = member
            if sort_key == last:
                raise twice(source, name, group[-1][1], uri)
            now = sort_key.partition(_AFTER_KEY)[0]
            if now != key and group:
                yield group
                group = []
            last, key = sort_key, now
            group.append((name, uri, extension, content))
    if group:
        yield group


def twice(source: str, image_id: str, one: str, other: str) -> SourceError:
    """Return the error that one id stands for what lies at two uris."""
    return SourceError(f"{source!r} holds {image_id!r} twice, at {one!r} and at {other!r}; remove or rename one")


def _some(items: Iterator[tuple[Item, Values]]) -> Iterator[list[tuple[Item, Values]]]:
    while part := list(islice(items, ROWS_AT_ONCE)):
        yield part
