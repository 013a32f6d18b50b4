"""Finds a folder for what is kept between runs, on any machine: without a home, with a read-only one, or a full disk.

A cache is a convenience: where no folder can be written to, there is none, and the caller works without it.
"""

from __future__ import annotations

import os
import stat
import tempfile
import uuid
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

NAME = "i2s_batch"
_PROBE = bytes(1 << 16)  # more than a full file system takes in the metadata of a file


def home() -> Path | None:
    """Return the user's home; None where there is none, as for a user id without an entry in the user database."""
    try:
        return Path.home()
    except RuntimeError:
        return None


def cache_folders() -> Iterator[Path]:
    """Yield the folders in which a cached file may be, the best first; they need not exist, nor be writable.

    $I2S_CACHE alone where it is set, the choice of the user; else i2s_batch in ~/.cache and in $XDG_CACHE_HOME, and
    a folder of this user beside the temporary files.
    """
    if chosen := os.environ.get("I2S_CACHE"):
        yield Path(chosen)
        return
    if (user := home()) is not None:
        yield user / ".cache" / NAME
    if general := os.environ.get("XDG_CACHE_HOME"):
        yield Path(general) / NAME
    if (temporary := temporary_cache()) is not None:
        yield temporary


def temporary_cache() -> Path | None:
    """Return this user's folder in the one for temporary files; None if there is none, or another user has made it.

    What lies in another user's folder could be anything.
    """
    with suppress(OSError):  # there is no folder for temporary files, or it cannot be written to
        folder = Path(tempfile.gettempdir()) / f"{NAME}-{user_id()}"
        with suppress(FileExistsError):
            folder.mkdir(mode=0o700)
        if _is_ours(folder):
            return folder
    return None


def writable_cache(name: str) -> Path | None:
    """Return a folder `name` in the first folder of caches that can be written to; None if there is none."""
    for folder in cache_folders():
        if can_write(folder / name):
            return folder / name
    return None


def can_write(folder: Path) -> bool:
    """Return whether files with content can be made in a folder, which is made if it does not exist."""
    probe = folder / f".probe-{uuid.uuid4().hex}"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        try:
            probe.write_bytes(_PROBE)
        finally:
            probe.unlink(missing_ok=True)
    except OSError:
        return False
    return True


def user_id() -> int:
    """Return the number of this user; 0 on Windows, whose folder for temporary files is the user's own."""
    return os.getuid() if hasattr(os, "getuid") else 0


def _is_ours(folder: Path) -> bool:
    """Return whether a folder, not a link to one, belongs to this user and nobody else may write to it."""
    info = folder.lstat()
    if not hasattr(os, "getuid"):
        return stat.S_ISDIR(info.st_mode)
    return stat.S_ISDIR(info.st_mode) and info.st_uid == os.getuid() and not info.st_mode & 0o022
