"""Reads the folders that img2dataset writes as they lie: KEY.jpg with KEY.json and KEY.txt beside it, in 00000/, ...

Beside each folder NNNNN lie NNNNN_stats.json, by which such a folder is known, and NNNNN.parquet, with what the .json
files hold. Neither is an image. In any other folder a .json or .txt file is a file like others: nothing there is opened
before the run.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator

import pyarrow as pa
import pyarrow.compute as pc

from i2s_batch.concurrency import map_ahead
from i2s_batch.errors import PictureError
from i2s_batch.parquet.sorted_rows import SpilledRows
from i2s_batch.plurals import counted
from i2s_batch.sources.archive_entries import MOST_SIDECAR_BYTES, SIDECARS, key_and_extension
from i2s_batch.sources.described_images import DescribedImages, MemberRow, member_row, member_table
from i2s_batch.sources.image_bytes import read_bytes
from i2s_batch.sources.items import Item

_STATS = "_stats.json"
_STATS_OF = re.compile(r"(?:.*/)?\d+(?=_stats\.json\Z)", re.DOTALL)
_READERS = 16  # small files that are read at once


def with_described_folders(source: str, files: SpilledRows, report: Callable[[str], None]) -> SpilledRows:
    """Return the images of `files` with the columns of the files beside them, if img2dataset has written these.

    Without such a folder the files themselves are returned.
    """
    described_in = frozenset(_folders(files))
    folders = frozenset(_holding_files(files, described_in)) if described_in else described_in
    if not folders:
        return files
    described = _Folders(files, folders)
    images = DescribedImages(source, described.members(), report).images()
    if described.left_out:
        report(f"{counted(described.left_out, 'file')} about the folders of img2dataset in {source!r} "
               f"{'is' if described.left_out == 1 else 'are'} left out")  # fmt: skip
    return images


def _folders(files: SpilledRows) -> Iterator[str]:
    """Yield the folders beside which img2dataset has written what it did."""
    for rows in files.parts(["image_id"]):
        ids = rows["image_id"].filter(pc.ends_with(rows["image_id"], _STATS)).to_pylist()
        yield from (found[0] for image_id in ids if (found := _STATS_OF.match(image_id)) is not None)


def _holding_files(files: SpilledRows, folders: frozenset[str]) -> Iterator[str]:
    """Yield those of some folders in which a file lies: beside archives lie the same files about each."""
    for rows in files.parts(["image_id"]):
        yield from folders & {image_id.rpartition("/")[0] for image_id in rows["image_id"].to_pylist()}


class _Folders:
    """Makes members of the files in folders of img2dataset, and of all others."""

    def __init__(self, files: SpilledRows, folders: frozenset[str]) -> None:
        self._files, self._folders = files, folders
        self._beside = {f"{folder}{ending}" for folder in folders for ending in (_STATS, ".parquet")}
        self.left_out = 0

    def members(self) -> Iterator[pa.Table]:
        """Yield all files but those about a folder, some at a time, with the bytes of those that describe another."""
        for rows in self._files.parts():
            every = list(zip(rows["image_id"].to_pylist(), rows["uri"].to_pylist(), strict=True))
            items = [item for item in every if item[0] not in self._beside]
            self.left_out += len(every) - len(items)
            if items:
                yield member_table(list(map_ahead(self._member, items, _READERS)))

    def _member(self, item: Item) -> MemberRow:
        image_id, uri = item
        key, extension = key_and_extension(image_id)
        describes = extension.lower() in SIDECARS and image_id.rpartition("/")[0] in self._folders
        return member_row(key, extension, image_id, uri, _content(uri) if describes else None)


def _content(uri: str) -> bytes:
    """Return the bytes of a small file; what cannot be read describes nothing."""
    try:
        return read_bytes(uri, MOST_SIDECAR_BYTES)
    except PictureError:
        return b"\xff"  # no text
