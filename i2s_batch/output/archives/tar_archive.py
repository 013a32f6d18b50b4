"""Writes and reads a WebDataset: a tar with `key.png` and `key.json` of each image, in the order of the table.

Its bytes follow from the rows and the images alone (no time, no owner), and so does where each member begins: an image
is read with one request for its part of the archive.
"""

from __future__ import annotations

import io
import json
import tarfile
from collections.abc import Callable, Iterable, Iterator
from contextlib import closing
from functools import cached_property
from typing import BinaryIO, NamedTuple, cast

from i2s_batch.config import Json
from i2s_batch.errors import DamagedError, ObjectNotFoundError
from i2s_batch.output.archives.members import Members, StoredImage
from i2s_batch.storage import Store

SUFFIX = "tar"
_READ_AHEAD_BYTES = 8 << 20  # of an archive that is read from its beginning to its end
_MODE = 0o644
_END = bytes(2 * tarfile.BLOCKSIZE)


def tar_chunks(members: Members, images: Iterable[bytes]) -> Iterator[bytes]:
    """Yield the bytes of an archive of `images`, which come in the order of `members`."""
    written = 0
    for (name, size, facts), data in zip(members.each(), images, strict=True):
        text = _text(facts)
        parts = [_head(name, size), data, _padding(size), _head(_text_name(name), len(text)), text, _padding(len(text))]
        yield from parts
        written += sum(map(len, parts))
    written += len(_END)
    yield _END + bytes(-written % tarfile.RECORDSIZE)


class TarArchive:
    """Reads the archive at a key of a store."""

    def __init__(self, store: Store, key: str, members: Callable[[], Members]) -> None:
        """Take what returns the images that the archive holds by its rows."""
        self._store, self._key, self._members = store, key, members
        self._scanned: dict[str, tarfile.TarInfo] | None = None

    def get(self, member: str) -> bytes:
        """Return an image by its name: from where it must begin, or else from where it is found."""
        part = self._parts.get(member)
        if part is not None:
            with closing(self._store.open(self._key)) as file:
                file.seek(part.start)
                found = file.read(len(part.head) + part.size)
            if len(found) == len(part.head) + part.size and found.startswith(part.head):
                return found[len(part.head) :]
        # Another place than the rows say: a driver was killed between the archive and the table.
        return self._found(member)

    def images(self) -> Iterator[StoredImage]:
        """Yield all images in their order; one whose facts do not follow has no image_id."""
        waiting: StoredImage | None = None
        for name, data in self._files():
            if waiting is not None and name == _text_name(waiting.name):
                yield StoredImage(waiting.name, waiting.data, _image_id(data))
                waiting = None
                continue
            if waiting is not None:
                yield waiting
            waiting = StoredImage(name, data, None)
        if waiting is not None:
            yield waiting

    def _files(self) -> Iterator[tuple[str, bytes]]:
        """Yield name and content of each file in the archive."""
        try:
            with closing(self._file()) as source, tarfile.open(fileobj=source, mode="r|") as archive:
                for info in archive:
                    content = archive.extractfile(info)
                    yield info.name, b"" if content is None else content.read()
        except (tarfile.TarError, OSError, EOFError, UnicodeDecodeError) as error:
            raise self._damaged(error) from error

    @cached_property
    def _parts(self) -> dict[str, _Part]:
        return dict(_parts(self._members()))

    def _found(self, member: str) -> bytes:
        try:
            with closing(self._file()) as file, tarfile.open(fileobj=file, mode="r:") as archive:
                if self._scanned is None:
                    self._scanned = {info.name: info for info in archive.getmembers()}
                info = self._scanned.get(member)
                content = None if info is None else archive.extractfile(info)
                if content is None:
                    raise ObjectNotFoundError(f"{self._store.uri(self._key)!r} has no member {member!r}")
                return content.read()
        except (tarfile.TarError, OSError, EOFError, UnicodeDecodeError) as error:
            raise self._damaged(error) from error

    def _file(self) -> BinaryIO:
        raw = self._store.open(self._key)
        if isinstance(raw, io.RawIOBase):  # of a remote store: each read is a request
            return cast("BinaryIO", io.BufferedReader(raw, _READ_AHEAD_BYTES))
        return raw

    def _damaged(self, error: Exception) -> DamagedError:
        reason = " ".join(str(error).split())
        return DamagedError(
            f"{self._store.uri(self._key)!r} is damaged ({reason}); delete it and run the same command again"
        )


class _Part(NamedTuple):
    """Says where an image begins, with its header, and how many bytes follow the header."""

    start: int
    head: bytes
    size: int


def _parts(members: Members) -> Iterator[tuple[str, _Part]]:
    """Yield where the images of an archive are that `tar_chunks` has written."""
    start = 0
    for name, size, facts in members.each():
        head, text = _head(name, size), _text(facts)
        yield name, _Part(start, head, size)
        start += len(head) + size + len(_padding(size))
        start += len(_head(_text_name(name), len(text))) + len(text) + len(_padding(len(text)))


def _head(name: str, size: int) -> bytes:
    info = tarfile.TarInfo(name)
    info.size, info.mode = size, _MODE
    return info.tobuf(tarfile.PAX_FORMAT, "utf-8", "strict")


def _padding(size: int) -> bytes:
    return bytes(-size % tarfile.BLOCKSIZE)


def _text_name(name: str) -> str:
    return f"{name.rpartition('.')[0]}.json"


def _text(facts: dict[str, Json]) -> bytes:
    return json.dumps(facts, ensure_ascii=False).encode()


def _image_id(text: bytes) -> str | None:
    """Return the image_id in the facts of an image; None if they are none."""
    try:
        found = json.loads(text)
    except (ValueError, RecursionError):
        return None
    image_id = found.get("image_id") if isinstance(found, dict) else None
    return image_id if isinstance(image_id, str) else None
