"""Reads the bytes of one image: a file, an object of a store, a member of an archive, a row of a table of images."""

from __future__ import annotations

import io
import os
from collections.abc import Iterator
from pathlib import Path

from i2s_batch.errors import ObjectNotFoundError, PictureError
from i2s_batch.sources.archive_entries import Found
from i2s_batch.sources.block_file import open_blocks
from i2s_batch.sources.members import ARROW, PARQUET, REFUSALS, TAR, Member, member_of
from i2s_batch.sources.names import path_of_uri
from i2s_batch.sources.spellings import hint
from i2s_batch.sources.tar_members import read_tar_member, tar_entries
from i2s_batch.sources.zip_members import read_zip_member, zip_entries
from i2s_batch.storage import is_remote, open_store, split_url
from i2s_batch.storage.files import errors_named
from i2s_batch.storage.local import open_regular, read_regular
from i2s_batch.storage.store import ObjectUnreadableError

MAX_PICTURE_BYTES = 512 * 2**20
_HEADERS_BYTES = 1 << 18  # that are read with a member of an archive, at most


def read_bytes(uri: str, limit_bytes: int = MAX_PICTURE_BYTES) -> bytes:
    """Return the bytes of one image.

    Raises:
        PictureError: This image cannot be read.
        StorageError: No image could be read there.
    """
    member = member_of(uri)
    try:
        if member is not None:
            return _member_bytes(member, limit_bytes)
        if is_remote(uri):
            root, key = split_url(uri)
            return open_store(root).get(key, limit_bytes)
        return read_regular(path_of_uri(uri), limit_bytes)
    except ObjectNotFoundError as error:
        whole = uri if member is None else member.container
        spelling = hint(whole if is_remote(whole) else path_of_uri(whole), is_remote(whole))
        raise PictureError(f"{error}{spelling}") from error
    except ObjectUnreadableError as error:
        raise PictureError(str(error)) from error


def _member_bytes(member: Member, limit_bytes: int) -> bytes:
    """Return the bytes of an image that is a part of a file."""
    what = f"{member.name!r} in {member.container!r}" if member.name else repr(member.container)
    if member.kind in REFUSALS:
        raise PictureError(f"{what}: {REFUSALS[member.kind].format(position=member.numbers[0])}")
    if member.kind == PARQUET:
        return _checked(what, read_parquet_row(member), limit_bytes)
    if member.kind == ARROW:
        return _arrow_bytes(what, member, limit_bytes)
    size = max(member.numbers[1:3]) if member.kind != TAR else member.numbers[1]
    if size > limit_bytes:
        raise PictureError(f"{what} has {size} bytes; the limit is {limit_bytes}")

    def read(start: int, stop: int) -> bytes:
        if stop - start > limit_bytes + _HEADERS_BYTES:  # of an archive that was written again
            raise PictureError(f"{what} has more than {limit_bytes} bytes, the limit")
        return read_range(member.container, start, stop)

    if member.kind == TAR:
        return _checked(what, read_tar_member(member, read, _entries(member)), limit_bytes)
    return _checked(what, read_zip_member(member, read, _entries(member)), limit_bytes)


def _arrow_bytes(what: str, member: Member, limit_bytes: int) -> bytes:
    """Return the bytes of an image in an Arrow file of this machine, which is known again by its size and its time."""
    position, size, whole, written_ms = member.numbers
    if not size:
        raise PictureError(f"{what} is null")
    if size > limit_bytes:
        raise PictureError(f"{what} has {size} bytes; the limit is {limit_bytes}")
    path = path_of_uri(member.container)
    with open_regular(path) as file, errors_named(Path(path)):
        found = file.seek(0, io.SEEK_END)
        if found != whole:
            raise PictureError(
                f"{member.container!r} has {found} bytes and had {whole} when the run was planned: it was written again"
            )
        if os.fstat(file.fileno()).st_mtime_ns // 1_000_000 != written_ms:  # its images may lie in another order
            raise PictureError(f"{member.container!r} was written or copied again after the run was planned")
        file.seek(position)
        return file.read(size)


def _checked(what: str, data: bytes, limit_bytes: int) -> bytes:
    if len(data) > limit_bytes:
        raise PictureError(f"{what} has {len(data)} bytes; the limit is {limit_bytes}")
    return data


def _entries(member: Member) -> Iterator[Found]:
    """Yield the members of an archive as it is now; it is opened when the first is asked for."""
    with open_blocks(member.container) as file:
        yield from (tar_entries if member.kind == TAR else zip_entries)(member.container, file)


def read_range(uri: str, start: int, stop: int) -> bytes:
    """Return the bytes `start` to `stop` of a file, fewer at its end."""
    if is_remote(uri):
        root, key = split_url(uri)
        return open_store(root).get_part(key, start, stop)
    path = path_of_uri(uri)
    with open_regular(path) as file, errors_named(Path(path)):
        file.seek(start)
        return file.read(stop - start)


def read_parquet_row(member: Member) -> bytes:
    """Return the bytes of the image in a row of a Parquet file."""
    from i2s_batch.sources.parquet_images import read_parquet_image  # pyarrow, which single files do not need

    return read_parquet_image(member)
