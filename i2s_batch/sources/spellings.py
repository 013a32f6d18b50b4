"""Finds the files that lists name in another spelling: with backslashes, or in another form of Unicode.

Lists are written on other systems. Windows separates folders by backslashes; macOS stores accents apart from their
letters (NFD), most other systems together (NFC). A name that exists exactly as written is never changed, and one that
could be several files is left as it is: no image is chosen by a guess.
"""

from __future__ import annotations

import os
import unicodedata
from abc import ABC, abstractmethod
from collections import defaultdict
from collections.abc import Iterable, Sequence
from functools import cached_property
from itertools import islice

from cachetools import LRUCache

from i2s_batch.storage import open_store

MOST_KEYS = 100_000  # that are listed of a store, in a hundred requests; nothing is looked for among more
_MOST_NAMES = 1_000_000  # that are looked at in a folder
_FOLDERS_CACHED = 64


def may_be_spelt_otherwise(path: str) -> bool:
    """Return whether a path may be that of a file under another spelling."""
    return not path.isascii() or "\\" in path


def with_slashes(path: str) -> str:
    """Return a path with the separators of this system."""
    return path.replace("\\", "/")


class Spellings(ABC):
    """Finds the one existing file for the spellings of an entry."""

    def existing(self, spellings: Sequence[str]) -> str:
        """Return the file that exists: the first spelling itself, else the one file that any of them may mean.

        Args:
            spellings: The entry as it is written, and as it would be with other separators.
        """
        written = spellings[0]
        if not may_be_spelt_otherwise(written) or self.exists(written):
            return written
        found = self.alike(spellings)
        return found[0] if len(found) == 1 else written

    @abstractmethod
    def exists(self, path: str) -> bool:
        """Return whether a file has exactly this name."""

    @abstractmethod
    def alike(self, spellings: Iterable[str]) -> list[str]:
        """Return the existing files that the spellings may mean, each once."""


class LocalSpellings(Spellings):
    """Finds files of this machine; it reads a folder only where a name in it does not exist as written."""

    def __init__(self) -> None:
        self._cache: LRUCache[str, dict[str, list[str]]] = LRUCache(_FOLDERS_CACHED)

    def exists(self, path: str) -> bool:
        """Return whether a file, or a link, has exactly this path."""
        return os.path.lexists(path)

    def alike(self, spellings: Iterable[str]) -> list[str]:
        """Return the files that the absolute paths may mean, folder by folder."""
        found: dict[str, None] = {}
        for spelling in spellings:
            paths = [""]
            for part in spelling.split("/")[1:]:
                paths = [f"{path}/{name}" for path in paths for name in self._names(path, part)]
            found |= dict.fromkeys(paths)
        return list(found)

    def _names(self, folder: str, name: str) -> list[str]:
        """Return the names in a folder that may be meant: the very one alone if it exists."""
        if os.path.lexists(f"{folder}/{name}"):
            return [name]
        return [] if name.isascii() else self._composed(folder or "/").get(unicodedata.normalize("NFC", name), [])

    def _composed(self, folder: str) -> dict[str, list[str]]:
        """Return the names in a folder that are not ASCII, by their form NFC; none of a folder that has too many."""
        if folder not in self._cache:
            try:
                with os.scandir(folder) as entries:
                    names = [entry.name for entry in islice(entries, _MOST_NAMES + 1) if not entry.name.isascii()]
            except OSError:
                names = []
            self._cache[folder] = _by_form(names if len(names) <= _MOST_NAMES else [])
        return self._cache[folder]


class StoredSpellings(Spellings):
    """Finds objects below a prefix of a store, from one listing, which is made when it is first needed."""

    def __init__(self, base: str) -> None:
        """Look below `base`, the url of a prefix; what lies elsewhere is left as it is written."""
        self._base = base

    def exists(self, path: str) -> bool:
        """Return whether an object has exactly this url, or whether that is not known."""
        return self._keys is None or not path.startswith(f"{self._base}/") or path in self._keys

    def alike(self, spellings: Iterable[str]) -> list[str]:
        """Return the urls of the objects that the urls may mean."""
        forms = dict.fromkeys(unicodedata.normalize("NFC", url) for url in spellings)
        return [url for form in forms for url in self._forms.get(form, [])]

    @cached_property
    def _keys(self) -> frozenset[str] | None:
        """Return the urls of the objects below the base; None if they cannot be listed, or not cheaply."""
        store = open_store(self._base)
        if not store.can_list:
            return None
        urls = frozenset(store.uri(info.key) for info in islice(store.list(), MOST_KEYS + 1))
        return urls if len(urls) <= MOST_KEYS else None

    @cached_property
    def _forms(self) -> dict[str, list[str]]:
        return _by_form(self._keys or ())


def _by_form(names: Iterable[str]) -> dict[str, list[str]]:
    found = defaultdict(list)
    for name in names:
        found[unicodedata.normalize("NFC", name)].append(name)
    return found


def hint(path: str, in_store: bool) -> str:
    """Return what to add to the message that a file does not exist, because of its spelling; '' for nothing."""
    if not may_be_spelt_otherwise(path):
        return ""
    if in_store:
        return "; give the key as it is stored: with '/' between folders, in its own form of Unicode (NFC or NFD)"
    alike = len(LocalSpellings().alike([path]))
    if alike:
        files = "a file has" if alike == 1 else f"{alike} files have"
        return f"; {files} this name in another form of Unicode (NFC or NFD); give the name as it is stored"
    return "; it has backslashes; write '/' between folders" if "\\" in path else ""
