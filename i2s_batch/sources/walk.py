"""Walks a local folder or pattern: symbolic links are followed, loops end, nothing special is opened."""

from __future__ import annotations

import errno
import glob
import os
import re
import stat
from collections.abc import Iterator, Sequence
from fnmatch import fnmatchcase

from i2s_batch.errors import SourceError
from i2s_batch.sources.apart import Output
from i2s_batch.storage.files import local_error

BRACES = re.compile(r"\{([^{}]*,[^{}]*|\d+\.\.\d+)\}")  # '{jpg,png}': either of them; '{000..099}': each number
JUNK = frozenset({"Thumbs.db", "desktop.ini", "__MACOSX"})

Identity = tuple[int, int]  # device and inode: what a folder is, whatever path leads to it


def is_skipped(name: str) -> bool:
    """Return whether a file of this name is never part of a dataset: hidden, or written by a file manager."""
    return name.startswith(".") or name in JUNK


def identity(path: str) -> Identity | None:
    """Return the identity of `path`, links followed; None if it does not exist."""
    try:
        info = os.stat(path)  # noqa: PTH116
    except (FileNotFoundError, NotADirectoryError):
        return None
    return info.st_dev, info.st_ino


class _Seen:
    """Holds the folders that need not be walked: those that were, and OUT."""

    def __init__(self, out: Output) -> None:
        self._out = out if out.folder is not None else None
        first = None if out.folder is None else identity(out.folder)
        self._folders = set() if first is None else {first}

    def add(self, what: Identity) -> bool:
        """Return whether a folder is met for the first time."""
        new = what not in self._folders
        self._folders.add(what)
        return new

    def leads_into_out(self, link: str) -> bool:
        """Return whether a symbolic link leads into OUT; of what is no link, the folder that it lies in decides."""
        return self._out is not None and self._out.holds(link)


def walk_files(top: str, out: Output) -> Iterator[str]:
    """Yield the path, relative to `top`, of every regular file and every link that leads nowhere, in no order.

    Each real folder is walked once, however many links lead to it: under its own name if it lies in `top`,
    else under the first link found. What lies in `out` is left out, whatever link leads there.
    A link that leads nowhere is kept, so that its image becomes an `unreadable` row rather than vanish; so is a
    folder too deep for any path. Raises SourceError for a folder that may not be read.
    """
    yield from _walk(top, _Seen(out))


def _walk(top: str, seen: _Seen) -> Iterator[str]:
    links = [""]
    while links:
        found: list[str] = []
        for link in links:
            yield from _walk_real(top, link, seen, found)
        links = sorted(found)


def _walk_real(top: str, start: str, seen: _Seen, links: list[str]) -> Iterator[str]:
    """Yield the files under `start`; links to folders are not followed but added to `links`."""
    folders = [start]
    while folders:
        folder = folders.pop()
        path = os.path.join(top, folder)  # noqa: PTH118 (a Path a file would cost seconds per million)
        try:
            what = identity(path)
        except OSError as error:
            if error.errno != errno.ENAMETOOLONG:
                raise SourceError(str(local_error(error, path))) from error
            yield folder
            continue
        if what is None or not seen.add(what):
            continue
        inside = []
        for entry in _entries(path):
            relative = f"{folder}/{entry.name}" if folder else entry.name
            if entry.is_dir(follow_symlinks=False):
                inside.append(relative)
            elif entry.is_file(follow_symlinks=False):
                yield relative
            elif entry.is_symlink() and seen.leads_into_out(entry.path):
                continue
            elif entry.is_symlink() and os.path.isdir(entry.path):  # noqa: PTH112 (entry.is_dir raises in loops)
                links.append(relative)
            elif _is_item(entry.path):
                yield relative
        folders += sorted(inside)  # of two names for one folder it is always the same that counts


def _entries(folder: str) -> Iterator[os.DirEntry[str]]:
    """Yield what is in a folder, in no order: it may be ten million files, of which only some are in memory."""
    try:
        with os.scandir(folder) as entries:
            yield from (entry for entry in entries if not is_skipped(entry.name))
    except OSError as error:
        raise SourceError(str(local_error(error, folder))) from error


def _is_item(path: str) -> bool:
    """Return whether `path` is a regular file, or a link to one or to nothing; no pipe, socket or device."""
    try:
        mode = os.stat(path).st_mode  # noqa: PTH116
    except OSError:
        return True
    return stat.S_ISREG(mode)


def is_pattern(source: str) -> bool:
    """Return whether `source` holds a wildcard."""
    return glob.has_magic(source) or BRACES.search(source) is not None


def fixed_part(pattern: str) -> str:
    """Return the folder before the first part with a wildcard; '' for the working directory."""
    parts = pattern.split("/")
    first = next(i for i, part in enumerate(parts) if is_pattern(part))
    return "/".join(parts[:first]) or ("/" if pattern.startswith("/") else "")


def glob_files(pattern: str, out: Output) -> Iterator[str]:
    """Yield the files that match; `**` stands for any number of folders, a wildcard for no hidden name.

    Files in `out` are left out.
    """
    parts = pattern.split("/")
    if "**" in parts:
        yield from _glob_deep(parts, parts.index("**"), out)
        return
    for path in glob.iglob(pattern):  # noqa: PTH207
        if not os.path.isdir(path) and _is_item(path) and not out.holds(path):  # noqa: PTH112
            yield path


def _glob_deep(parts: Sequence[str], first: int, out: Output) -> Iterator[str]:
    """Yield the files that match a pattern whose part `first` is `**`; glob.glob would not end in loops."""
    seen = _Seen(out)
    head = "/".join([*parts[:first], ""])
    for folder in sorted(glob.glob(head)) if head else [""]:  # noqa: PTH207
        if not out.holds(folder or "."):
            for relative in _walk(folder or ".", seen):
                if matches(relative.split("/"), parts[first:]):
                    yield folder + relative


def matches(names: Sequence[str], pattern: Sequence[str]) -> bool:
    """Return whether the parts of a path fit those of a pattern, in which `**` stands for any number of them."""
    if not pattern:
        return not names
    if pattern[0] == "**":
        return any(matches(names[i:], pattern[1:]) for i in range(len(names) + 1))
    return bool(names) and fnmatchcase(names[0], pattern[0]) and matches(names[1:], pattern[1:])
