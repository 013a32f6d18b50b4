"""Creates and replaces local files exclusively, also where the file system has no hard links or no locks.

A hard link or a rename that replaces nothing creates a file whole, and fails if the name is taken; `flock` keeps two
replacements apart. File systems of cloud drives, memory cards and some clusters have none of these. There a lock file
beside the file serves, whose exclusive creation every file system has.
"""

from __future__ import annotations

import ctypes
import errno
import hashlib
import os
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO, Any, BinaryIO

from i2s_batch.errors import StorageError
from i2s_batch.storage.c_library import c_function
from i2s_batch.storage.files import TEMPORARY_PREFIX

try:
    import fcntl
except ImportError:  # Windows, where lock files serve
    fcntl = None  # type: ignore[assignment]

LOCK_TIMEOUT_S = 60.0  # a swap takes milliseconds, unless its process is suspended or killed meanwhile
_LOCK_RETRY_S = 0.005

# Errors of a file system that has no hard links: Google Drive and CIFS, exFAT, FUSE; a link across folders of AFS.
_NO_LINKS = (errno.EOPNOTSUPP, errno.EPERM, errno.ENOSYS, errno.EXDEV)
# Errors of a file system that has no locks, or no rename that replaces nothing.
_NOT_SUPPORTED = (errno.EOPNOTSUPP, errno.ENOSYS, errno.EINVAL, errno.ENOLCK)

_RENAME_NOREPLACE = 1
_AT_CURRENT_FOLDER = -100
RENAMEAT2: Callable[..., int] | None = c_function("renameat2")  # Linux only


def publish_new(temporary: Path, path: Path) -> bool:
    """Publish `temporary` at `path`, at once and whole; return False if the name is taken."""
    try:
        path.hardlink_to(temporary)
        return True
    except FileExistsError:
        return False
    except OSError as error:
        if error.errno not in _NO_LINKS:
            raise
    renamed = _rename_new(temporary, path)
    if renamed is not None:
        return renamed
    with _lock_file(path):
        if os.path.lexists(path):
            return False
        temporary.replace(path)
        return True


def _rename_new(temporary: Path, path: Path) -> bool | None:
    """Rename without replacing; return whether the name was free, None where that is not supported."""
    if RENAMEAT2 is None:
        return None
    names = (_AT_CURRENT_FOLDER, os.fsencode(temporary), _AT_CURRENT_FOLDER, os.fsencode(path))
    if RENAMEAT2(*names, _RENAME_NOREPLACE) == 0:
        return True
    number = ctypes.get_errno()
    if number == errno.EEXIST:
        return False
    if number in _NOT_SUPPORTED:
        return None
    raise OSError(number, os.strerror(number))


@contextmanager
def locked(file: BinaryIO, path: Path) -> Iterator[None]:
    """Hold the lock of the open `file` at `path` against other processes that ask for it.

    Raises:
        StorageError: Another process holds the lock and does not release it within `LOCK_TIMEOUT_S`.
    """
    if _flocked(file, path):
        yield  # released when the file is closed
    else:
        with _lock_file(path):
            yield


def _flocked(file: BinaryIO, path: Path) -> bool:
    """Lock a file; return False where the system or the file system has no locks."""
    if fcntl is None:
        return False
    deadline = time.monotonic() + LOCK_TIMEOUT_S
    while True:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return True
        except BlockingIOError:
            if time.monotonic() > deadline:
                raise StorageError(
                    f"{str(path)!r} has been locked for {LOCK_TIMEOUT_S:.0f} s by a process that hangs; end it and "
                    "run the same command again"
                ) from None
            time.sleep(_LOCK_RETRY_S)
        except OSError as error:
            if error.errno in _NOT_SUPPORTED:
                return False
            raise


def wait_for_lock(file: IO[Any]) -> bool:
    """Lock an open file, however long another process holds it; return False where there are no locks."""
    if fcntl is None:
        return False
    try:
        fcntl.flock(file, fcntl.LOCK_EX)
    except OSError as error:
        if error.errno in _NOT_SUPPORTED:
            return False
        raise
    return True


def has_locks(file: IO[Any]) -> bool:
    """Return whether the system, and the file system of an open file that nobody else has opened, have locks."""
    if fcntl is None:
        return False
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        return False
    return True


def try_lock(file: IO[Any]) -> bool:
    """Lock an open file unless another process holds its lock; return whether that is not so, or there are no locks."""
    if fcntl is None:
        return True
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError as error:
        if error.errno not in _NOT_SUPPORTED:
            raise
    return True


@contextmanager
def _lock_file(path: Path) -> Iterator[None]:
    """Hold a lock file beside `path`, under a name that listings ignore.

    A lock file that stays the same for `LOCK_TIMEOUT_S` was left by a process that was killed, and is removed.
    """
    lock = path.with_name(TEMPORARY_PREFIX + hashlib.md5(os.fsencode(path.name), usedforsecurity=False).hexdigest())
    mine = uuid.uuid4().hex.encode()
    seen, since = b"", time.monotonic()
    while True:
        try:
            descriptor = os.open(lock, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o666)
            break
        except FileExistsError:
            found = _content(lock)
        if found != seen:
            seen, since = found, time.monotonic()
        elif time.monotonic() - since > LOCK_TIMEOUT_S:
            lock.unlink(missing_ok=True)
        time.sleep(_LOCK_RETRY_S)
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(mine)
        yield
    finally:
        if _content(lock) == mine:
            lock.unlink(missing_ok=True)


def _content(lock: Path) -> bytes:
    """Return what a lock file holds; nothing if it is gone or has just been created."""
    with suppress(FileNotFoundError):
        return lock.read_bytes()
    return b""
