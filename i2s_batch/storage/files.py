"""Handles files of this machine: errors in one line, and one file that the user names, written as `cp` writes it.

`written_whole` is for FILE of a command line. It knows nothing of runs: what lies under OUT is written by a store.
"""

from __future__ import annotations

import errno
import os
import re
import shutil
import stat
import sys
import tempfile
import uuid
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import BinaryIO, cast

from i2s_batch.errors import ObjectNotFoundError, ObjectUnreadableError, StorageError

TEMPORARY_PREFIX = ".i2s-tmp-"
_TEMPORARY = re.compile(re.escape(TEMPORARY_PREFIX) + "[0-9a-f]{32}")
COPIED_BYTES = 1 << 20  # bytes of a file that are copied at a time
_MOST_LINKS = 40  # symbolic links in a row, as many as Linux follows

_MISSING = (errno.ENOENT, errno.ENOTDIR, errno.ELOOP, errno.ENAMETOOLONG)
_UNREADABLE = (errno.EACCES, errno.EPERM, errno.EIO)
# Errors for a file that may be written but not replaced, because of its folder or because it is a mount point.
_NOT_REPLACEABLE = (errno.EACCES, errno.EPERM, errno.EROFS, errno.EBUSY)
_REMEDIES = {
    errno.EACCES: "permission denied; change its permissions or choose another path",
    errno.EPERM: "the file system does not permit it; choose another path",
    errno.ENOSPC: "the disk is full; free some space and run the same command again",
    errno.EDQUOT: "the disk quota is used up; free some space and run the same command again",
    errno.EROFS: "the file system is read-only; choose another path",
    errno.EISDIR: "it is a folder; name a file",
    errno.ENOTDIR: "a part of the path is a file, not a folder; choose another path",
    errno.EEXIST: "it is a file, where a folder is needed; choose another path",
    errno.ENOENT: "it does not exist",
    errno.ELOOP: "its symbolic links form a loop",
    errno.ENAMETOOLONG: "its name is too long for the file system",
    errno.EOPNOTSUPP: "the file system cannot do this; choose another path",
    errno.ENOSYS: "the file system cannot do this; choose another path",
    errno.EPIPE: "its reader has closed it; keep it open and run the same command again",
    errno.ENXIO: "it is a socket, or a device that does not exist; name a file",
}


def local_error(error: OSError, path: str) -> StorageError:
    """Return `error` as one line that names `path` (quoted, so that any name prints) and the next step."""
    reason = _REMEDIES.get(error.errno or 0) or f"{error.strerror or error}; check the disk or mount"
    if error.errno in _MISSING:
        return ObjectNotFoundError(f"{path!r}: {reason}")
    if error.errno in _UNREADABLE:
        return ObjectUnreadableError(f"{path!r}: {reason}")
    return StorageError(f"{path!r}: {reason}")


@contextmanager
def errors_named(path: Path) -> Iterator[None]:
    """Raise every OSError within as the StorageError of `path`."""
    try:
        yield
    except OSError as error:
        raise local_error(error, str(path)) from error


@contextmanager
def temporary_folder(prefix: str) -> Iterator[Path]:
    """Make a folder whose name begins with `prefix`, which is removed with all that is in it when this ends."""
    try:
        folder = tempfile.TemporaryDirectory(prefix=prefix)
    except OSError as error:
        raise StorageError(
            f"no temporary folder can be made ({error.strerror or error}); set TMPDIR to one that can be written to"
        ) from error
    with folder as path:
        yield Path(path)


def temporary_beside(path: Path) -> Path:
    """Return a new name in the folder of `path` for a file that is to replace it; listings of stores leave it out."""
    return path.with_name(TEMPORARY_PREFIX + uuid.uuid4().hex)


@contextmanager
def temporary_folder_beside(path: Path) -> Iterator[Path]:
    """Make a folder that is to replace `path`; it is removed with all that is in it if it has not."""
    folder = temporary_beside(path)
    with errors_named(path):
        folder.mkdir()
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def is_temporary(name: str) -> bool:
    """Return whether `temporary_beside` gives such names; a name that only begins like one may be the user's."""
    return _TEMPORARY.fullmatch(name) is not None


@contextmanager
def written_whole(path: Path, seekable: bool = False) -> Iterator[BinaryIO]:
    """Open a file to be written whose content is at `path` when this ends, as `cp` would put it there.

    A regular file is replaced at once, or stays as it was if writing fails. It keeps its mode and owner; a new one
    obeys the umask. Symbolic links are followed, also one that leads to nothing yet. Another hard link to the file is
    another file from then on and keeps the old content: only this name was given. A pipe, a terminal or another
    character device is written through while it is open, and so is an open file of this process (/dev/stdout). A block
    device, which may hold a file system, is refused.

    Args:
        path: The file.
        seekable: Whether the format seeks; what is written through is then written after all content is complete.

    Raises:
        StorageError: The file cannot be written; one line that names `path`.
    """
    with errors_named(path):
        own = _own_descriptor(path)
        if own is None and _is_regular(path):
            with _replacing(Path(os.path.realpath(path))) as file:
                yield file
        elif seekable:
            with tempfile.TemporaryFile() as buffer, _opened(path, own) as through:
                yield cast("BinaryIO", buffer)
                _copy(buffer, through)
        else:
            with _opened(path, own) as through:
                yield through


def _is_regular(path: Path) -> bool:
    """Return whether a regular file is, or can be made, at `path`; False for what is written through."""
    try:
        mode = path.stat().st_mode
    except FileNotFoundError:
        folder = Path(os.path.realpath(path)).parent
        if not folder.is_dir():
            raise StorageError(f"{str(path)!r}: there is no folder {str(folder)!r}; create it first") from None
        return True
    if stat.S_ISDIR(mode):
        raise StorageError(f"{str(path)!r} is a folder; name a file")
    if stat.S_ISBLK(mode):
        raise StorageError(f"{str(path)!r} is a block device, which may hold a file system; name a file")
    return stat.S_ISREG(mode)


def _own_descriptor(path: Path) -> int | None:
    """Return the number of the open file of this process that `path` names, such as /dev/stdout or /dev/fd/3.

    It has to be used as it is: opened by its name again, a file that the shell appends to would lose its content.
    """
    own = os.path.realpath("/proc/self/fd")
    for _ in range(_MOST_LINKS):
        folder = os.path.realpath(path.parent)
        if folder == own and path.name.isdecimal():
            return int(path.name)
        if not path.is_symlink():
            return None
        path = Path(folder, path.readlink())
    return None


@contextmanager
def _opened(path: Path, own: int | None) -> Iterator[BinaryIO]:
    """Open what is written through. A pipe without a reader is waited for, as `cp` does."""
    if own is not None:
        sys.stdout.flush()  # what was printed before this file must precede it
    descriptor = os.open(path, os.O_WRONLY | getattr(os, "O_NOCTTY", 0)) if own is None else os.dup(own)
    with os.fdopen(descriptor, "wb") as file:
        yield file


@contextmanager
def _replacing(target: Path) -> Iterator[BinaryIO]:
    """Write a file beside `target`, which replaces it at the end and is removed if that is not reached."""
    before = target.stat() if target.exists() else None
    if before is not None and not os.access(target, os.W_OK, effective_ids=os.access in os.supports_effective_ids):
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))
    temporary = temporary_beside(target)
    try:
        descriptor = os.open(temporary, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o666)
    except OSError as error:
        if before is None or error.errno not in _NOT_REPLACEABLE:
            raise
        with tempfile.TemporaryFile() as buffer:
            yield cast("BinaryIO", buffer)
            _overwrite(target, buffer)
        return
    try:
        with os.fdopen(descriptor, "w+b") as file:
            yield file
            file.flush()
            if before is not None:
                _keep_owner_and_mode(file.fileno(), before)
            os.fsync(file.fileno())
            _replace_target(temporary, target, file, before is not None)
    finally:
        temporary.unlink(missing_ok=True)


def _replace_target(temporary: Path, target: Path, file: BinaryIO, exists: bool) -> None:
    try:
        temporary.replace(target)
    except OSError as error:  # a mount point, or another user's file in a folder such as /tmp
        if not exists or error.errno not in _NOT_REPLACEABLE:
            raise
        _overwrite(target, file)


def _overwrite(target: Path, source: BinaryIO) -> None:
    """Copy complete content over that of `target`. Only this can be interrupted half-way."""
    with target.open("r+b") as file:
        _copy(source, file)
        file.truncate()
        file.flush()
        os.fsync(file.fileno())


def _copy(source: BinaryIO, target: BinaryIO) -> None:
    source.seek(0)
    shutil.copyfileobj(source, target, COPIED_BYTES)


def _keep_owner_and_mode(descriptor: int, before: os.stat_result) -> None:
    if not hasattr(os, "fchown"):  # Windows, whose files have neither
        return
    with suppress(PermissionError):  # only root may change the owner of a file
        os.fchown(descriptor, before.st_uid, before.st_gid)
    if os.fstat(descriptor).st_mode != before.st_mode:  # a file system without modes, such as exFAT, refuses any change
        os.fchmod(descriptor, stat.S_IMODE(before.st_mode))
