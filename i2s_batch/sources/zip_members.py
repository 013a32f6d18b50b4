"""Finds the members of a zip by its directory, and reads one member by the range of its bytes.

The directory is read with Python's zipfile, which holds all of it in memory (about 1 KB a member).
"""

from __future__ import annotations

import stat
import struct
import zipfile
import zlib
from collections.abc import Iterator

from i2s_batch.errors import PictureError
from i2s_batch.sources.archive_entries import Entry, Found, Read, is_sidecar
from i2s_batch.sources.block_file import BlockFile
from i2s_batch.sources.members import ZIP, Member, plain_name

# What zipfile raises for a directory that is none.
FAULTS = (zipfile.BadZipFile, struct.error, NotImplementedError, ValueError, LookupError, EOFError, ArithmeticError)

_HEADER = struct.Struct("<4s5H3L2H")  # of a member, before its name
_SIGNATURE = b"PK\x03\x04"
_SLACK = 1 << 10  # bytes for the name and the fields that follow the header
_ENCRYPTED, _UTF8 = 0x1, 0x800
# Images are compressed already: beyond these, a member is made to fill memory.
_BOMB_BYTES, MOST_RATIO = 16 << 20, 200


def zip_entries(container: str, file: BlockFile) -> Iterator[Found]:
    """Yield the members of a zip in the order of its directory."""
    try:
        with zipfile.ZipFile(file) as archive:
            members = archive.infolist()
    except FAULTS:
        yield Entry(Member(container, "damaged", (0,), ""))
        return
    for info in members:
        if info.is_dir():
            continue
        mode = info.external_attr >> 16
        if mode and not stat.S_ISREG(mode) and stat.S_IFMT(mode):  # a link, or a device
            yield None
            continue
        yield _entry(container, file, info)


def _entry(container: str, file: BlockFile, info: zipfile.ZipInfo) -> Entry:
    name = _plain(info.filename)
    if info.flag_bits & _ENCRYPTED:
        return Entry(Member(container, "encrypted", (info.header_offset,), name))
    if info.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
        return Entry(Member(container, "packed", (info.header_offset,), name))
    numbers = (info.header_offset, info.compress_size, info.file_size, info.compress_type, info.CRC)
    member = Member(container, ZIP, tuple(max(0, number) for number in numbers), name)
    if not is_sidecar(name, info.file_size):
        return Entry(member)

    def read(start: int, stop: int) -> bytes:
        file.seek(start)
        return file.read(stop - start)

    try:
        return Entry(member, read_zip_member(member, read, iter(())))
    except (PictureError, ValueError):  # it becomes a row, which gives the reason
        return Entry(member)


def _plain(name: str) -> str:
    """Return the name of a member; some programs of Windows separate folders by backslashes."""
    return plain_name(name.replace("\\", "/"))


def read_zip_member(member: Member, read: Read, find: Iterator[Found]) -> bytes:
    """Return the bytes of a member; raise PictureError where they are not those that were packed.

    Args:
        member: Where it was.
        read: Reads a range of the zip.
        find: The members of the zip as it is now, where it was written again.
    """
    try:
        return _unpacked(member, _packed(member, read))
    except PictureError:
        found = _found_again(member, find)
        if found is None or found == member:
            raise
    return _unpacked(found, _packed(found, read))


def _found_again(member: Member, find: Iterator[Found]) -> Member | None:
    """Return the member of the same name in the zip as it is now."""
    return next((each.member for each in find if each is not None and each.member.name == member.name), None)


def _packed(member: Member, read: Read) -> bytes:
    """Return the bytes of a member as they are stored; raise PictureError if its header is not there."""
    position, size = member.numbers[:2]
    data = read(position, position + _HEADER.size + size + _SLACK)
    if len(data) < _HEADER.size or not data.startswith(_SIGNATURE):
        raise _elsewhere(member)
    _, _, flags, *_, name_bytes, extra_bytes = _HEADER.unpack_from(data)
    start = _HEADER.size + name_bytes
    name = data[_HEADER.size : start].decode("utf-8" if flags & _UTF8 else "cp437", "replace").partition("\0")[0]
    if _plain(name) != member.name:
        raise _elsewhere(member)
    start += extra_bytes
    if len(data) < start + size:  # fields of more than the slack
        data = read(position, position + start + size)
    return data[start : start + size]


def _elsewhere(member: Member) -> PictureError:
    return PictureError(
        f"{member.container!r} holds no {member.name!r} any more where it was; it was written again, or is damaged"
    )


def _unpacked(member: Member, packed: bytes) -> bytes:
    _, packed_size, size, method, checksum = member.numbers
    what = f"{member.name!r} in {member.container!r}"
    if len(packed) < packed_size:
        raise PictureError(f"{what} is cut: {len(packed)} of {packed_size} bytes are there")
    data = packed
    if method == zipfile.ZIP_DEFLATED:
        if size > _BOMB_BYTES and size > MOST_RATIO * packed_size:
            raise PictureError(f"{what} would expand to {size} bytes, {size // max(1, packed_size)} times as many; "
                               f"the limit is {MOST_RATIO} times above {_BOMB_BYTES} bytes")  # fmt: skip
        try:
            data = zlib.decompressobj(-zlib.MAX_WBITS).decompress(packed, size + 1)
        except zlib.error as error:
            raise PictureError(f"{what} is damaged: {error}") from error
    if len(data) != size:
        more = "more" if len(data) > size else f"{len(data)}"
        raise PictureError(f"{what} is damaged: it should have {size} bytes and has {more}")
    if zlib.crc32(data) != checksum:
        raise PictureError(f"{what} is damaged: its checksum differs")
    return data
