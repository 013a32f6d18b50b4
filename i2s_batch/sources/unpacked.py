"""Replaces the files of a SOURCE that are archives, or tables of images, by the images in them."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import partial
from itertools import islice

import pyarrow as pa

from i2s_batch.concurrency import interleaved
from i2s_batch.errors import SourceError
from i2s_batch.images.read.sniff import has_image_name
from i2s_batch.parquet.sorted_rows import SpilledRows, sorted_rows
from i2s_batch.plurals import counted
from i2s_batch.sources.archive_entries import Entry, key_and_extension
from i2s_batch.sources.block_file import open_blocks
from i2s_batch.sources.image_tables import hold_images, image_table_parts
from i2s_batch.sources.items import IMAGE, Item, image_table
from i2s_batch.sources.members import ARCHIVES, is_archive
from i2s_batch.sources.options import SourceOptions
from i2s_batch.sources.sidecars import SidecarColumns, Values, sidecar_values
from i2s_batch.sources.tar_members import tar_entries
from i2s_batch.sources.walk import is_skipped
from i2s_batch.sources.zip_members import zip_entries
from i2s_batch.storage import is_remote

_ENTRIES = dict(zip(ARCHIVES, (tar_entries, zip_entries), strict=True))
_COMPRESSED = re.compile(r"\.(tar\.\w+|tgz|tbz2?|txz)$", re.IGNORECASE)
_READERS = 8  # archives of a store that are read at once
_ROWS_AT_ONCE = 4096
# A member: what it is sorted by, its id, its uri, its extension and, if it describes another, its bytes.
_MEMBERS = pa.schema(
    [(name, pa.string()) for name in ("image_id", "id", "uri", "extension")] + [("content", pa.binary())]
)
# After the key in what members are sorted by, so that those of one key come together.
_AFTER_KEY = "\0"

Report = Callable[[str], None]


def unpacked(source: str, files: SpilledRows, options: SourceOptions, report: Report) -> SpilledRows:
    """Return the images in the archives, or in the tables of images, that `files` are; else `files` themselves.

    They are archives if one of them is and none has the name of an image. The order is that of the ids.

    Raises:
        SourceError: An archive is compressed as a whole, or two images have one id, or tables differ in their columns.
    """
    found = _containers(source, files)
    if found is None:
        return files
    archives, tables = found
    if archives:
        _report_others(source, files.num_rows - len(archives), report)
        return _Archives(source, archives, report).images()
    if not hold_images(tables, options.image_column):
        return files
    _report_others(source, files.num_rows - len(tables), report)
    return _unique(source, image_table_parts(source, tables, options.image_column, report))


def _containers(source: str, files: SpilledRows) -> tuple[list[Item], list[Item]] | None:
    """Return the archives and the Parquet files among some files; None if there are images, too."""
    archives: list[Item] = []
    tables: list[Item] = []
    for rows in files.parts():
        for image_id, uri in zip(rows["image_id"].to_pylist(), rows["uri"].to_pylist(), strict=True):
            name = image_id.lower()
            if has_image_name(name):
                return None
            if is_archive(name):
                archives.append((image_id, uri))
            elif name.endswith(".parquet"):
                tables.append((image_id, uri))
            elif files.num_rows == 1 and _COMPRESSED.search(name):
                raise SourceError(
                    f"{source!r} is compressed as a whole, so that its members cannot be read one by one; unpack it "
                    "(gzip -d), and give the .tar"
                )
    return archives, tables


def _report_others(source: str, others: int, report: Report) -> None:
    if others:
        report(f"{counted(others, 'file is', 'files are')} left out beside the archives or tables of {source!r}")


@dataclass
class _Archives:
    """Lists the members of archives."""

    source: str
    archives: Sequence[Item]
    report: Report
    _links: list[str] = field(default_factory=list)
    _damaged: list[str] = field(default_factory=list)
    _undescribed: int = 0

    def images(self) -> SpilledRows:
        """Return the images, with the columns that the members beside them describe."""
        readers = _READERS if any(is_remote(uri) for _, uri in self.archives) else 1
        members = sorted_rows(interleaved([partial(self._members, one) for one in self.archives], readers), _MEMBERS)
        columns = SidecarColumns(self.source)
        for described in _some(self._described(members)):
            columns.learn(values for _, values in described if values)
        schema = pa.schema([*IMAGE, *columns.schema()])
        images = sorted_rows(self._tables(members, columns, schema), schema)
        self._report_faults()
        return images

    def _members(self, archive: Item) -> Iterator[pa.Table]:
        """Yield the members of an archive, some at a time."""
        image_id, uri = archive
        entries = next(reader for suffix, reader in _ENTRIES.items() if image_id.lower().endswith(suffix))
        rows: list[tuple[str, str, str, str, bytes | None]] = []
        with open_blocks(uri) as file:
            for entry in entries(uri, file):
                if entry is None:
                    self._links.append(image_id)
                    continue
                if any(map(is_skipped, entry.member.name.split("/"))):
                    continue
                rows.append(_row(image_id, entry))
                if entry.member.kind == "damaged":
                    self._damaged.append(f"{uri!r} from byte {entry.member.numbers[0]} on")
                if len(rows) == _ROWS_AT_ONCE:
                    yield _table(rows)
                    rows = []
        if rows:
            yield _table(rows)

    def _described(self, members: SpilledRows) -> Iterator[tuple[Item, Values]]:
        """Yield the images in the order of their keys, each with what the members of its key say."""
        self._undescribed = 0
        for group in _groups(self.source, members):
            images = [(name, uri) for name, uri, _, content in group if content is None]
            sidecars = {extension: content for *_, extension, content in group if content is not None}
            if not images:  # files that describe nothing are files like others
                yield from (((name, uri), {}) for name, uri, *_ in group)
                continue
            values = sidecar_values(sidecars) if sidecars else {}
            self._undescribed += values is None
            yield from ((image, values or {}) for image in images)

    def _tables(self, members: SpilledRows, columns: SidecarColumns, schema: pa.Schema) -> Iterator[pa.Table]:
        for described in _some(self._described(members)):
            table = image_table([item for item, _ in described])
            arrays = columns.columns([values for _, values in described])
            yield pa.table([*table.columns, *arrays], schema=schema)

    def _report_faults(self) -> None:
        if self._damaged:
            self.report(f"damaged, each a row of its own: {_named(self._damaged)}")
        if self._links:
            what = counted(len(self._links), "link or device is", "links and devices are")
            self.report(f"{what} left out, in {_named(sorted(set(self._links)))}")
        if self._undescribed:
            self.report(f"{counted(self._undescribed, 'image')} of {self.source!r}: the .json or text beside cannot be "
                        "read; its columns are null")  # fmt: skip


def _named(what: Sequence[str]) -> str:
    more = f" and {len(what) - 3} more" if len(what) > 3 else ""
    return ", ".join(sorted(what)[:3]) + more


def _row(archive_id: str, entry: Entry) -> tuple[str, str, str, str, bytes | None]:
    member = entry.member
    if not member.name:  # what stands for a damaged archive
        return archive_id, archive_id, member.uri, "", None
    key, extension = key_and_extension(member.name)
    sort_key = f"{archive_id}/{key}{_AFTER_KEY}{extension}"
    return sort_key, f"{archive_id}/{member.name}", member.uri, extension.lower(), entry.content


def _table(rows: list[tuple[str, str, str, str, bytes | None]]) -> pa.Table:
    columns = zip(zip(*rows, strict=True), _MEMBERS.types, strict=True)
    return pa.table([pa.array(column, kind) for column, kind in columns], schema=_MEMBERS)


def _groups(source: str, members: SpilledRows) -> Iterator[list[tuple[str, str, str, bytes | None]]]:
    """Yield the members of each key: id, uri, extension, bytes."""
    group: list[tuple[str, str, str, bytes | None]] = []
    last, key = None, None
    for rows in members.parts():
        for sort_key, *member in zip(*(column.to_pylist() for column in rows.columns), strict=True):
            name, uri, extension, content = member
            if sort_key == last:
                raise _twice(source, name, group[-1][1], uri)
            now = sort_key.partition(_AFTER_KEY)[0]
            if now != key and group:
                yield group
                group = []
            last, key = sort_key, now
            group.append((name, uri, extension, content))
    if group:
        yield group


def _twice(source: str, image_id: str, one: str, other: str) -> SourceError:
    return SourceError(f"{source!r} holds {image_id!r} twice, at {one!r} and at {other!r}; remove or rename one")


def _unique(source: str, images: SpilledRows) -> SpilledRows:
    """Return the images; raise SourceError if two have one id."""
    last, uri = None, ""
    for rows in images.parts(["image_id", "uri"]):
        for image_id, here in zip(rows["image_id"].to_pylist(), rows["uri"].to_pylist(), strict=True):
            if image_id == last:
                raise _twice(source, image_id, uri, here)
            last, uri = image_id, here
    return images


def _some(items: Iterator[tuple[Item, Values]]) -> Iterator[list[tuple[Item, Values]]]:
    while part := list(islice(items, _ROWS_AT_ONCE)):
        yield part
