"""Names images that are a part of a file: a member of an archive, or a row of a table that holds images.

    CONTAINER#KIND=NUMBERS/NAME        /data/a.tar#tar=1536+20345/x/key.jpg

The uri begins with that of the file, so that it moves with it, and says where in it the image lies, so that one range
of bytes is read. The name at the end is that of the member; it shows whether the file was written again since then.
Standard library only.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

ARCHIVES = (".tar", ".zip")  # the ends of their names

TAR = "tar"  # numbers: position of the data, bytes
ZIP = "zip"  # numbers: position of the header, compressed bytes, bytes, method, CRC-32
PARQUET = "parquet"  # numbers: row group, row in it, column
ARROW = "arrow"  # numbers: position of the data, bytes, bytes of the whole file, when that was written, in ms
# Members that cannot be read, and why; no numbers but a position.
REFUSALS = {
    "damaged": "the archive cannot be read from byte {position} on; write it again, then use --update",
    "sparse": "it is stored as a sparse file; write the archive without --sparse",
    "encrypted": "it is encrypted; write the archive without a password",
    "packed": "it is compressed by a method other than deflate; write the archive with the usual one",
}

_MEMBER = re.compile(rf"#({'|'.join((TAR, ZIP, PARQUET, ARROW, *REFUSALS))})=(\d{{1,18}}(?:\+\d{{1,18}}){{0,4}})/")
_COUNTS = {TAR: 2, ZIP: 5, PARQUET: 3, ARROW: 4}  # of numbers
# What no id may hold as a part of a path: it would lead out of a folder.
_ESCAPED_PARTS = {"..": "%2E%2E"}


@dataclass(frozen=True)
class Member:
    """Locates an image in a file.

    Attributes:
        container: The uri of the file.
        kind: One of TAR, ZIP, PARQUET, ARROW, or a key of REFUSALS.
        numbers: Where in the file it lies, as the kind has it.
        name: Its name in the file.
    """

    container: str
    kind: str
    numbers: tuple[int, ...]
    name: str

    @property
    def uri(self) -> str:
        """Return its uri."""
        return f"{self.container}#{self.kind}={'+'.join(map(str, self.numbers))}/{self.name}"


def is_archive(name: str) -> bool:
    """Return whether a file of this name is an archive whose members can be read one by one."""
    return name.lower().endswith(ARCHIVES)


def is_member(uri: str) -> bool:
    """Return whether a uri is that of a part of a file."""
    return "#" in uri and _MEMBER.search(uri) is not None


def member_of(uri: str) -> Member | None:
    """Return what a uri locates in a file; None for the uri of a whole file."""
    found = _MEMBER.search(uri) if "#" in uri else None
    if found is None:
        return None
    numbers = tuple(map(int, found[2].split("+")))
    if len(numbers) != _COUNTS.get(found[1], 1):
        return None
    return Member(uri[: found.start()], found[1], numbers, uri[found.end() :])


def plain_name(name: str) -> str:
    """Return the name of a member as a relative path that stays in its folder, whatever the archive has for it.

    Bytes that are not UTF-8 are escaped, as NUL is.
    """
    text = name.encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace").replace("\0", "%00")
    parts = [_ESCAPED_PARTS.get(part, part) for part in text.split("/") if part not in ("", ".")]
    return "/".join(parts) or "%"
