"""Finds the members of a tar by its headers, and reads one member by the range of its bytes.

The headers are read with Python's tarfile, which knows every dialect (pax, GNU, V7). It keeps what it has read, and
ends silently at a header that is none, so both are mended here. The package webdataset reads a tar from its beginning
to its end and knows no positions, so that a resumed run would read again what is done.
"""

from __future__ import annotations

import tarfile
from collections.abc import Iterator

from i2s_batch.errors import PictureError
from i2s_batch.sources.archive_entries import Entry, Found, Read, is_sidecar
from i2s_batch.sources.block_file import BlockFile
from i2s_batch.sources.members import TAR, Member, plain_name

BLOCK = tarfile.BLOCKSIZE
_MOST_HEADER = 8 << 20  # bytes of an extended header
_WHOLE_NAME = 98  # bytes; a longer name may lie in another header
# What tarfile raises for headers that are none.
FAULTS = (tarfile.TarError, ValueError, ArithmeticError, LookupError, TypeError, EOFError, RecursionError)


def tar_entries(container: str, file: BlockFile) -> Iterator[Found]:
    """Yield the members of a tar in their order.

    The member in which a tar ends is an entry too; where no header can be read any more, so is what is left.
    """
    last = -1
    try:
        with tarfile.open(fileobj=file, mode="r:", encoding="utf-8", errors="surrogateescape") as tar:
            while (info := tar.next()) is not None:
                tar.members = []  # type: ignore[attr-defined]  # it would keep all of them
                if info.offset_data <= last:  # a header may lead backwards
                    raise tarfile.ReadError("a header leads backwards")
                last = info.offset_data
                yield from _entry(container, file, info)
            end = tar.offset
    except FAULTS:
        yield _damaged(container, max(0, last))
        return
    if not _ends_at(file, end):
        yield _damaged(container, end)


def _entry(container: str, file: BlockFile, info: tarfile.TarInfo) -> Iterator[Found]:
    name = plain_name(info.name)
    if info.issparse():
        yield Entry(Member(container, "sparse", (info.offset_data,), name))
    elif info.isreg():
        member = Member(container, TAR, (info.offset_data, info.size), name)
        content = None
        if is_sidecar(name, info.size):
            file.seek(info.offset_data)
            content = file.read(info.size)
        yield Entry(member, content)
    elif not info.isdir():
        yield None


def _ends_at(file: BlockFile, position: int) -> bool:
    """Return whether a tar ends at a position: with zeros, or with the file."""
    file.seek(min(position, file.size))
    return position <= file.size and not file.read(BLOCK).strip(b"\0")


def _damaged(container: str, position: int) -> Entry:
    return Entry(Member(container, "damaged", (position,), ""))


def read_tar_member(member: Member, read: Read, find: Iterator[Found]) -> bytes:
    """Return the bytes of a member; raise PictureError where they are not all there.

    Args:
        member: Where it was.
        read: Reads a range of the tar.
        find: The members of the tar as it is now, where it was written again.
    """
    position, size = member.numbers
    data = read(max(0, position - BLOCK), position + size)
    if not _is_header_of(data[:BLOCK], member):
        found = _found_again(member, find)
        position, size = found.numbers
        data = read(position - BLOCK, position + size)
    data = data[BLOCK:]
    if len(data) < size:
        raise PictureError(
            f"{member.container!r} ends in the middle of {member.name!r}: {len(data)} of {size} bytes are there"
        )
    return data


def _found_again(member: Member, find: Iterator[Found]) -> Member:
    for entry in find:
        if entry is not None and entry.member.kind == TAR and entry.member.name == member.name:
            return entry.member
    raise PictureError(f"{member.container!r} holds no {member.name!r} any more; it was written again")


def _is_header_of(block: bytes, member: Member) -> bool:
    """Return whether a block is the header of a member. The header itself holds only the start of a long name."""
    try:
        info = tarfile.TarInfo.frombuf(block, "utf-8", "surrogateescape")
    except FAULTS:
        return False
    if not info.isreg() or info.size not in (member.numbers[1], 0):  # 0: the size is in an extended header
        return False
    is_cut = len(info.name.encode("utf-8", "surrogateescape")) > _WHOLE_NAME
    # Python writes '?' there for what is not ASCII.
    return is_cut or plain_name(info.name) in (member.name, member.name.encode("ascii", "replace").decode())
