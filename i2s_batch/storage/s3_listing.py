"""Lists many objects of S3, whose pages of a thousand keys can only be requested one after the other.

So the keys are cut into ranges that are listed concurrently. Nothing needs to be known about the keys for that: when a
page that ends at `stem` + c + ... is not the last one, the rest is two ranges: the keys after it that begin with
`stem` + c, and the keys after all that begin so. Every page but the last of a range brings a thousand new keys, so that
this costs at most twice the requests of a sequential listing, whether the keys have folders, numbers or hashes.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from dataclasses import dataclass

READERS = 16  # ranges listed at once
_AHEAD = 512  # pages requested before those in front of them were consumed: 100 MB
_LAST = "\U0010ffff"  # after every other character in the order of UTF-8
_LONGEST = 1000  # bytes of a prefix; keys, and what they are compared with, have 1024 at most

Entry = tuple[str, int]  # key and size


@dataclass(frozen=True)
class Page:
    """Holds some keys in the order of their UTF-8 bytes; `more`: there are others after them."""

    entries: list[Entry]
    more: bool


@dataclass(frozen=True)
class Range:
    """Describes keys that begin with `stem` and come after `after`, without those that begin with `taken`, if given."""

    stem: str
    after: str = ""
    taken: str | None = None

    def rest(self, last: str) -> list[Range]:
        """Return the ranges after a page that ended with the key `last`, in order."""
        branch = last[: len(self.stem) + 1]
        if branch in (self.stem, self.taken) or len(branch.encode()) > _LONGEST:
            return [Range(self.stem, last, self.taken)]
        return [Range(branch, last), Range(self.stem, branch + _LAST, branch)]


class _Part:
    """Holds a range whose first page has arrived (`entries`), is requested (`page`), or neither yet."""

    def __init__(self, keys: Range) -> None:
        self.keys = keys
        self.page: Future[Page] | None = None
        self.entries: list[Entry] | None = None

    def take_page(self) -> list[_Part]:
        """Take the page, which has arrived; return what remains of the range after it."""
        assert self.page is not None
        page, taken = self.page.result(), self.keys.taken
        self.entries = [entry for entry in page.entries if taken is None or not entry[0].startswith(taken)]
        return [_Part(keys) for keys in self.keys.rest(page.entries[-1][0])] if page.more else []


def list_keys(fetch: Callable[[str, str], Page], prefix: str) -> Iterator[Entry]:
    """Yield every key that begins with `prefix`, in order.

    `fetch(stem, after)` returns the first page of the keys that begin with `stem` and come after `after`; a page that
    more keys follow must not be empty.
    """
    first = fetch(prefix, "")
    yield from first.entries
    if first.more:
        yield from _list_concurrently(fetch, Range(prefix).rest(first.entries[-1][0]))


def _list_concurrently(fetch: Callable[[str, str], Page], ranges: list[Range]) -> Iterator[Entry]:
    parts = [_Part(keys) for keys in ranges]  # in the order of the keys, however the pages come
    with ThreadPoolExecutor(READERS) as pool:
        try:
            while parts:
                _ask(parts, pool, fetch)
                if parts[0].entries is not None:
                    yield from parts.pop(0).entries or ()
                    continue
                wait([part.page for part in parts if part.page and part.entries is None], None, FIRST_COMPLETED)
                parts = [new for part in parts for new in _with_rest(part)]
        finally:
            pool.shutdown(wait=True, cancel_futures=True)


def _ask(parts: list[_Part], pool: ThreadPoolExecutor, fetch: Callable[[str, str], Page]) -> None:
    """Request the first pages that are not requested yet, the foremost first, as many as there are threads."""
    asked = [part for part in parts if part.page is not None]
    under_way = sum(part.entries is None for part in asked)
    free = min(READERS - under_way, _AHEAD - len(asked))
    for index, part in enumerate(parts):
        if part.page is None and (index == 0 or free > 0):
            part.page = pool.submit(fetch, part.keys.stem, part.keys.after)
            free -= 1


def _with_rest(part: _Part) -> list[_Part]:
    """Return the part and, if its page has just arrived, what remains of its range after it."""
    if part.page is None or part.entries is not None or not part.page.done():
        return [part]
    return [part, *part.take_page()]
