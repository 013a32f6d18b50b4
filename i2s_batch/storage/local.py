"""Stores objects in a local folder (or one mounted by every machine of the cluster, such as NFS)."""

from __future__ import annotations

import errno
import io
import os
import stat
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import BinaryIO

from i2s_batch.errors import ObjectUnreadableError, StorageError
from i2s_batch.storage.c_library import c_function
from i2s_batch.storage.exclusive import locked, publish_new
from i2s_batch.storage.files import COPIED_BYTES, errors_named, is_temporary, local_error, temporary_beside
from i2s_batch.storage.store import ObjectInfo, Store

FOLDER_ATTEMPTS = 100  # at creating a file in a folder that other processes remove whenever it is empty

_CANNOT_SYNC = (errno.EINVAL, errno.ENOSYS, errno.EOPNOTSUPP)

_LOST_AND_FOUND = "lost+found"  # at the root of a mounted file system; only root may list it

SYNC_FILE_SYSTEM: Callable[[int], int] | None = c_function("syncfs")  # Linux only
_OPENS_FOLDERS = hasattr(os, "O_DIRECTORY")  # Windows does not
_AT_ONCE = getattr(os, "O_NONBLOCK", 0)


def open_regular(path: str, limit_bytes: int | None = None) -> BinaryIO:
    """Open a regular file. Pipes and devices, which may block for ever, are never read, nor opened knowingly."""
    try:
        _check_regular(os.stat(path), path, limit_bytes)  # noqa: PTH116 (Path would lose a trailing slash)
        # Another file may have this name by now, so the open one is checked too. O_NONBLOCK: a pipe without a writer
        # opens at once instead of blocking.
        file = os.fdopen(os.open(path, os.O_RDONLY | _AT_ONCE), "rb")
        try:
            _check_regular(os.fstat(file.fileno()), path, limit_bytes)
        except ObjectUnreadableError:
            file.close()
            raise
        return file
    except OSError as error:
        raise local_error(error, path) from error


def _check_regular(info: os.stat_result, path: str, limit_bytes: int | None) -> None:
    if stat.S_ISDIR(info.st_mode):
        raise ObjectUnreadableError(f"{path!r} is a folder, not a file")
    if not stat.S_ISREG(info.st_mode):
        raise ObjectUnreadableError(f"{path!r} is a pipe, socket or device, not a file")
    if limit_bytes is not None and info.st_size > limit_bytes:
        raise ObjectUnreadableError(f"{path!r} has {info.st_size} bytes; the limit is {limit_bytes}")


def read_regular(path: str, limit_bytes: int | None = None) -> bytes:
    """Return the bytes of a regular file. Under a limit, a file that is written to meanwhile is refused."""
    with open_regular(path, limit_bytes) as file, errors_named(Path(path)):
        if limit_bytes is None:
            return file.read()
        size = os.fstat(file.fileno()).st_size
        data = file.read(size + 1)  # never more, however large it becomes
    if len(data) != size:
        raise ObjectUnreadableError(
            f"{path!r} had {size} bytes and changed while it was read; try again when nothing writes to it"
        )
    return data


def _sync_folder(folder: Path) -> None:
    """Make the names in `folder` durable: fsync of a file does not cover its directory entry.

    A file system that cannot do so for a folder, such as one in user space, keeps names as durable as it does.
    """
    if not _OPENS_FOLDERS and folder.is_dir():
        return
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    except OSError as error:
        if error.errno not in _CANNOT_SYNC or not stat.S_ISDIR(os.fstat(descriptor).st_mode):
            raise
    finally:
        os.close(descriptor)


def _sync_all(paths: Iterable[Path]) -> None:
    """Make files or folders of one file system durable, in one call where the system has it.

    For some dozens of small files one call costs a fifth of as many single ones.
    """
    ordered = list(paths)
    if SYNC_FILE_SYSTEM is not None:
        descriptor = os.open(ordered[0], os.O_RDONLY)
        try:
            if SYNC_FILE_SYSTEM(descriptor) == 0:
                return
        finally:
            os.close(descriptor)
    for path in ordered:
        _sync_folder(path)  # works for a file too


def _make_folder(folder: Path) -> None:
    """Make a folder and its parents, durably, as `mkdir -p`."""
    if folder.is_dir():
        return
    _make_folder(folder.parent)
    try:
        folder.mkdir()
    except FileExistsError:  # created by another process; `stat` fails if yet another has removed it again
        if not stat.S_ISDIR(folder.stat().st_mode):
            raise
    _sync_folder(folder.parent)


def _create(path: Path, attempts: int = FOLDER_ATTEMPTS) -> int:
    """Create a file and its folders; return the open descriptor."""
    try:
        _make_folder(path.parent)
        return os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o666)
    except FileNotFoundError:  # another process deleted the folder's last object, and so the folder
        if attempts == 1:
            raise
    return _create(path, attempts - 1)


def _replace(temporary: Path, path: Path) -> bool:
    """Publish `temporary` at `path`, over whatever was there; return True."""
    temporary.replace(path)
    return True


def _write_through(path: Path, data: bytes | BinaryIO, publish: Callable[[Path, Path], bool]) -> bool:
    """Write `data`, or the content of a file, beside `path`, then `publish(temporary, path)`; durable on return."""
    source = io.BytesIO(data) if isinstance(data, bytes) else data
    return _write_chunks(path, iter(partial(source.read, COPIED_BYTES), b""), publish)


def _write_chunks(path: Path, chunks: Iterable[bytes], publish: Callable[[Path, Path], bool]) -> bool:
    """Write chunks beside `path`, then `publish(temporary, path)`; durable on return.

    The temporary name is one that listings ignore.
    """
    temporary = temporary_beside(path)
    descriptor = _create(temporary)
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.writelines(chunks)
            file.flush()
            # The content before the name: after a crash no name may lead to half a file.
            os.fsync(file.fileno())
        published = publish(temporary, path)
        with suppress(FileNotFoundError):  # deleted again by another process, and the empty folder with it
            _sync_folder(path.parent)
        return published
    finally:
        temporary.unlink(missing_ok=True)


@dataclass(frozen=True)
class LocalStore(Store):
    """Stores objects as files under `root`, an absolute path."""

    root: str

    @property
    def url(self) -> str:
        """Return the root folder."""
        return self.root

    def _path(self, key: str) -> Path:
        if not key or any(part in ("", ".", "..") for part in key.split("/")):
            raise StorageError(f"{key!r} is no key; keys are relative paths without empty parts, '.' or '..'")
        return Path(self.root, key)

    def uri(self, key: str) -> str:
        """Return the path of an object."""
        return str(self._path(key))

    def get(self, key: str, limit_bytes: int | None = None) -> bytes:
        """Return the bytes of a file."""
        return read_regular(str(self._path(key)), limit_bytes)

    def open(self, key: str) -> BinaryIO:
        """Open a file for reading."""
        return open_regular(str(self._path(key)))

    def put(self, key: str, data: bytes) -> None:
        """Write a file under a temporary name and rename it: whole or not at all."""
        path = self._path(key)
        with errors_named(path):
            _write_through(path, data, _replace)

    def put_file(self, key: str, source: Path) -> None:
        """Copy a local file under a temporary name and rename it."""
        path = self._path(key)
        with open_regular(str(source)) as data, errors_named(path):
            _write_through(path, data, _replace)

    def put_chunks(self, key: str, chunks: Iterable[bytes]) -> None:
        """Write chunks under a temporary name as they come, and rename the file."""
        self._put_chunks(key, chunks, _replace)

    def put_new_chunks(self, key: str, chunks: Iterable[bytes]) -> bool:
        """Write chunks under a temporary name as they come, and give the file its name if that is free."""
        return self._put_chunks(key, chunks, publish_new)

    def _put_chunks(self, key: str, chunks: Iterable[bytes], publish: Callable[[Path, Path], bool]) -> bool:
        path, written = self._path(key), False
        try:
            with errors_named(path):
                written = _write_chunks(path, chunks, publish)
        finally:
            if not written:  # nor stays a folder that was made for it
                self._remove_if_empty(path.parent)
        return written

    def put_all(self, objects: Mapping[str, bytes]) -> None:
        """Write files, then make all of them durable with one call where the system has it."""
        paths = {self._path(key): data for key, data in objects.items()}
        if not paths:
            return
        first = next(iter(paths))
        with errors_named(first):
            temporaries = {path: temporary_beside(path) for path in paths}
            try:
                for path, data in paths.items():
                    with os.fdopen(_create(temporaries[path]), "wb") as file:
                        file.write(data)
                _sync_all(temporaries.values())  # before the renames: after a crash no name may lead to half a file
                for path, temporary in temporaries.items():
                    temporary.replace(path)
                _sync_all({path.parent for path in paths})
            finally:
                for temporary in temporaries.values():
                    temporary.unlink(missing_ok=True)

    def put_new(self, key: str, data: bytes) -> bool:
        """Create a file whole; where the name is taken, nothing changes."""
        path = self._path(key)
        with errors_named(path):
            return _write_through(path, data, publish_new)

    def swap(self, key: str, expected: bytes, data: bytes) -> bool:
        """Replace a file under a lock if it holds `expected`."""
        path = self._path(key)
        with errors_named(path):
            while True:
                try:
                    file = path.open("r+b")  # writable, because NFS locks no other files exclusively
                except FileNotFoundError:
                    return False
                with file, locked(file, path):
                    if not _is_current(file.fileno(), path):
                        continue  # replaced while this call waited for the lock: look at the new one
                    if file.read() != expected:
                        return False
                    return _write_through(path, data, _replace)

    def list(self, prefix: str = "") -> Iterator[ObjectInfo]:
        """Yield the regular files whose keys begin with `prefix`, sorted."""
        top = Path(self.root, prefix.rpartition("/")[0])
        with errors_named(top):
            found = [info for info in self._walk(top) if info.key.startswith(prefix)]
        found.sort(key=lambda info: os.fsencode(info.key))
        yield from found

    def _walk(self, top: Path) -> Iterator[ObjectInfo]:
        """Yield every regular file under `top` but temporary ones; nothing if there is no such folder."""
        for folder, _, names in os.walk(top, onerror=_raise_unless_missing):
            base = Path(folder).relative_to(self.root).as_posix()
            for name in names:
                if is_temporary(name):
                    continue
                key = name if base == "." else f"{base}/{name}"
                with suppress(FileNotFoundError):  # deleted by another process since the folder was read
                    info = Path(folder, name).stat()
                    if stat.S_ISREG(info.st_mode):
                        yield ObjectInfo(key, info.st_size)

    def everything(self) -> Iterator[str]:
        """Yield the key of everything but folders, also of temporary files, links and devices."""
        with errors_named(Path(self.root)):
            for folder, folders, names in os.walk(self.root, onerror=_raise_unless_missing):
                base = Path(folder).relative_to(self.root)
                folders[:] = sorted(name for name in folders if base.parts or name != _LOST_AND_FOUND)
                links = [name for name in folders if Path(folder, name).is_symlink()]
                yield from ((base / name).as_posix() for name in sorted([*names, *links]))

    def sweep(self, written: Callable[[str], bool]) -> None:
        """Remove temporary files that killed writers left."""
        left = []
        for key in self.everything():
            folder, _, name = key.rpartition("/")
            if is_temporary(name) and written(folder) and _is_plain_file(self._path(key)):
                left.append(key)
        self.delete(left)

    def delete(self, keys: Iterable[str]) -> None:
        """Remove files, and folders that are empty then."""
        folders = set()
        for key in keys:
            path = self._path(key)
            with errors_named(path), suppress(FileNotFoundError, NotADirectoryError):
                path.unlink()
            folders.add(path.parent)
        for folder in sorted(folders, key=lambda path: len(path.parts), reverse=True):
            self._remove_if_empty(folder)

    def _remove_if_empty(self, folder: Path) -> None:
        """Remove `folder` and its parents as far as they are empty: S3 has no empty folders either."""
        while folder != Path(self.root):
            try:
                folder.rmdir()
            except FileNotFoundError:
                pass
            except OSError as error:
                if error.errno in (errno.ENOTEMPTY, errno.EEXIST, errno.ENOTDIR):  # the last: a link to a folder
                    return
                raise local_error(error, str(folder)) from error
            folder = folder.parent


def _is_plain_file(path: Path) -> bool:
    """Return whether a regular file, not a link to one, has this name."""
    try:
        return stat.S_ISREG(path.lstat().st_mode)
    except FileNotFoundError:
        return False


def _is_current(descriptor: int, path: Path) -> bool:
    """Return whether the open file is still the one at `path`."""
    try:
        return os.path.samestat(os.fstat(descriptor), path.stat())
    except FileNotFoundError:
        return False


def _raise_unless_missing(error: OSError) -> None:
    if not isinstance(error, (FileNotFoundError, NotADirectoryError)):
        raise error
