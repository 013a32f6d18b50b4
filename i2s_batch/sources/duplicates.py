"""Finds the images of a SOURCE that have the same bytes as another: every file is read once, before the run.

Two columns of the plan hold what is found: the SHA-256 of an image's bytes, so that an update reads only what is new,
and the index in the plan of the first image with these bytes. Sorted outside memory, whatever their number.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Iterator

import pyarrow as pa

from i2s_batch.concurrency import map_ahead
from i2s_batch.errors import PictureError, SourceError
from i2s_batch.parquet.row_groups import RowGroups
from i2s_batch.parquet.sorted_rows import GROUP_ROWS, SpilledRows, in_groups, sorted_rows, spilled
from i2s_batch.plurals import counted
from i2s_batch.sources.image_bytes import read_bytes

# Columns of the plan that only this program needs. The second is null of an image without another before it, and of one
# that could not be read.
SHA256, SAME_AS = DUPLICATES_INTERNAL = ("_dedupe_sha256", "_dedupe_same_as")
_ADDED = pa.schema([(SHA256, pa.string()), (SAME_AS, pa.int64())])
_KEYS = pa.schema([("image_id", pa.string())])  # what is sorted: a hash and an index, or an index and another
_HEX, _DIGITS = 64, 20
_READERS = 16  # images that are read at once

Report = Callable[[str], None]


def with_duplicates(
    images: RowGroups, report: Report, first_index: int = 0, planned: Iterable[pa.Table] = ()
) -> SpilledRows:
    """Return some images, sorted by id, with the columns SHA256 and SAME_AS after theirs.

    Args:
        images: Images that are to be planned.
        report: Is told how many were read, and how many have the same bytes as another.
        first_index: The index in the plan that the first of them will have.
        planned: The column SHA256 of the images that are planned already, from index 0 on.

    Raises:
        SourceError: A list has a column of one of these names.
        StorageError: No image could be read there.
    """
    if taken := next((name for name in images.schema.names if name in DUPLICATES_INTERNAL), None):
        raise SourceError(f"SOURCE has a column {taken!r}, which --dedupe uses itself; rename it")
    hashed = spilled(_hashed(images, report), pa.schema([_ADDED.field(SHA256)]))
    every = sorted_rows(_keys(planned, hashed, first_index), _KEYS)
    same = sorted_rows(_pairs(every, first_index), _KEYS)
    report(f"{counted(same.num_rows, 'image has', 'images have')} the same bytes as another: not embedded again")
    return spilled(_marked(images, hashed, same, first_index), pa.schema([*images.schema, *_ADDED]))


def _hashed(images: RowGroups, report: Report) -> Iterator[pa.Table]:
    """Yield the SHA-256 of each image, null of one that cannot be read, in the order of the images."""
    done = 0
    for part in images.parts(["uri"]):
        hashes = list(map_ahead(_sha256, part["uri"].to_pylist(), _READERS))
        done += len(hashes)
        if images.num_rows > GROUP_ROWS:
            report(f"read {done} of {images.num_rows} images to find those with the same bytes")
        yield pa.table([pa.array(hashes, pa.string())], names=[SHA256])


def _sha256(uri: str) -> str | None:
    try:
        return hashlib.sha256(read_bytes(uri)).hexdigest()
    except PictureError:  # its row says why
        return None


def _keys(planned: Iterable[pa.Table], hashed: RowGroups, first_index: int) -> Iterator[pa.Table]:
    """Yield a key for each image that could be read: its hash and its index."""
    for first, parts in ((0, planned), (first_index, hashed.parts())):
        start = first
        for part in parts:
            hashes = enumerate(part[SHA256].to_pylist(), start)
            yield _key_table(f"{sha256}{index:0{_DIGITS}d}" for index, sha256 in hashes if sha256 is not None)
            start += len(part)


def _pairs(keys: RowGroups, first_index: int) -> Iterator[pa.Table]:
    """Yield a key for each new image whose hash an image before it has: its index and that of the first one."""
    last, first = "", 0
    for part in keys.parts():
        found = []
        for key in part["image_id"].to_pylist():
            sha256, index = key[:_HEX], int(key[_HEX:])
            if sha256 != last:
                last, first = sha256, index
            elif index >= first_index:
                found.append(f"{index:0{_DIGITS}d}{first:0{_DIGITS}d}")
        yield _key_table(found)


def _key_table(keys: Iterable[str]) -> pa.Table:
    return pa.table([pa.array(list(keys), pa.string())], schema=_KEYS)


def _marked(images: RowGroups, hashed: RowGroups, same: RowGroups, first_index: int) -> Iterator[pa.Table]:
    pairs = ((int(key[:_DIGITS]), int(key[_DIGITS:])) for part in same.parts() for key in part["image_id"].to_pylist())
    start, pair = first_index, next(pairs, None)
    in_step = (in_groups(rows.parts(), GROUP_ROWS) for rows in (images, hashed))
    for part, hashes in zip(*in_step, strict=True):
        firsts: list[int | None] = [None] * len(part)
        while pair is not None and pair[0] < start + len(part):
            firsts[pair[0] - start] = pair[1]
            pair = next(pairs, None)
        start += len(part)
        columns = [*part.columns, hashes[SHA256], pa.array(firsts, pa.int64())]
        yield pa.table(columns, schema=pa.schema([*images.schema, *_ADDED]))
