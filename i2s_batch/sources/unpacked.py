"""Replaces the files of a SOURCE that are archives, or tables of images, by the images in them."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import partial

import pyarrow as pa

from i2s_batch.concurrency import interleaved
from i2s_batch.errors import SourceError
from i2s_batch.images.read.sniff import has_image_name
from i2s_batch.parquet.sorted_rows import SpilledRows
from i2s_batch.plurals import counted
from i2s_batch.sources.archive_entries import Entry, key_and_extension
from i2s_batch.sources.arrow_images import is_arrow_table
from i2s_batch.sources.block_file import open_blocks
from i2s_batch.sources.described_images import ROWS_AT_ONCE, DescribedImages, MemberRow, member_row, member_table, twice
from i2s_batch.sources.image_folders import with_described_folders
from i2s_batch.sources.image_tables import hold_images, image_table_parts
from i2s_batch.sources.items import Item
from i2s_batch.sources.members import ARCHIVES, is_archive
from i2s_batch.sources.options import SourceOptions
from i2s_batch.sources.tar_members import tar_entries
from i2s_batch.sources.walk import is_skipped
from i2s_batch.sources.zip_members import zip_entries
from i2s_batch.storage import is_remote

_ENTRIES = dict(zip(ARCHIVES, (tar_entries, zip_entries), strict=True))
_COMPRESSED = re.compile(r"\.(tar\.\w+|tgz|tbz2?|txz)$", re.IGNORECASE)
_READERS = 8  # archives of a store that are read at once

Report = Callable[[str], None]


def unpacked(source: str, files: SpilledRows, options: SourceOptions, report: Report) -> SpilledRows:
    """Return the images in the archives, or in the tables of images, that `files` are; else `files` themselves.

    They are archives if one of them is and none has the name of an image; images that img2dataset has written into
    folders have the columns of the files beside them. The order is that of the ids.

    Raises:
        SourceError: An archive is compressed as a whole, or two images have one id, or tables differ in their columns.
    """
    found = _containers(source, files)
    if found is None:
        return with_described_folders(source, files, report)
    archives, tables = found
    if archives:
        _report_others(source, files.num_rows - len(archives), report)
        return _Archives(source, archives, report).images()
    if not hold_images(tables, options.image_column):
        return files
    _report_others(source, files.num_rows - len(tables), report)
    return _unique(source, image_table_parts(source, tables, options.image_column, report))


def _containers(source: str, files: SpilledRows) -> tuple[list[Item], list[Item]] | None:
    """Return the archives and the tables, Parquet or else Arrow, among some files; None if there are images, too."""
    archives: list[Item] = []
    tables: list[Item] = []
    arrows: list[Item] = []
    for rows in files.parts():
        for image_id, uri in zip(rows["image_id"].to_pylist(), rows["uri"].to_pylist(), strict=True):
            name = image_id.lower()
            if has_image_name(name):
                return None
            if is_archive(name):
                archives.append((image_id, uri))
            elif name.endswith(".parquet"):
                tables.append((image_id, uri))
            elif is_arrow_table(name):
                arrows.append((image_id, uri))
            elif files.num_rows == 1 and _COMPRESSED.search(name):
                raise SourceError(
                    f"{source!r} is compressed as a whole, so that its members cannot be read one by one; unpack it "
                    "(gzip -d), and give the .tar"
                )
    return archives, tables or arrows


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

    def images(self) -> SpilledRows:
        """Return the images, with the columns that the members beside them describe."""
        readers = _READERS if any(is_remote(uri) for _, uri in self.archives) else 1
        members = interleaved([partial(self._members, one) for one in self.archives], readers)
        images = DescribedImages(self.source, members, self.report).images()
        self._report_faults()
        return images

    def _members(self, archive: Item) -> Iterator[pa.Table]:
        """Yield the members of an archive, some at a time."""
        image_id, uri = archive
        entries = next(reader for suffix, reader in _ENTRIES.items() if image_id.lower().endswith(suffix))
        rows: list[MemberRow] = []
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
                if len(rows) == ROWS_AT_ONCE:
                    yield member_table(rows)
                    rows = []
        if rows:
            yield member_table(rows)

    def _report_faults(self) -> None:
        if self._damaged:
            self.report(f"damaged, each a row of its own: {_named(self._damaged)}")
        if self._links:
            what = counted(len(self._links), "link or device is", "links and devices are")
            self.report(f"{what} left out, in {_named(sorted(set(self._links)))}")


def _named(what: Sequence[str]) -> str:
    more = f" and {len(what) - 3} more" if len(what) > 3 else ""
    return ", ".join(sorted(what)[:3]) + more


def _row(archive_id: str, entry: Entry) -> MemberRow:
    member = entry.member
    if not member.name:  # what stands for a damaged archive
        return archive_id, archive_id, member.uri, "", None
    key, extension = key_and_extension(member.name)
    return member_row(f"{archive_id}/{key}", extension, f"{archive_id}/{member.name}", member.uri, entry.content)


def _unique(source: str, images: SpilledRows) -> SpilledRows:
    """Return the images; raise SourceError if two have one id."""
    last, uri = None, ""
    for rows in images.parts(["image_id", "uri"]):
        for image_id, here in zip(rows["image_id"].to_pylist(), rows["uri"].to_pylist(), strict=True):
            if image_id == last:
                raise twice(source, image_id, uri, here)
            last, uri = image_id, here
    return images
