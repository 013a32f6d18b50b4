"""Lists the images of a SOURCE that is a prefix of a store, such as s3://bucket/prefix."""

from __future__ import annotations

import posixpath
from collections.abc import Iterator
from itertools import islice

from i2s_batch.errors import SourceError
from i2s_batch.parquet.sorted_rows import SpilledRows
from i2s_batch.sources.apart import Output
from i2s_batch.sources.chosen import alternatives
from i2s_batch.sources.items import Item, sorted_images
from i2s_batch.sources.members import is_member
from i2s_batch.sources.options import SourceOptions
from i2s_batch.sources.walk import BRACES, fixed_part, is_pattern, is_skipped, matches
from i2s_batch.storage import ObjectInfo, is_remote, open_store, split_url


def below_prefix(source: str, out: Output, options: SourceOptions) -> SpilledRows | None:
    """Return the objects below a prefix of a store; None for a local SOURCE."""
    return sorted_images(_items(source, out)) if is_remote(source) else None


def _items(source: str, out: Output) -> Iterator[Item]:
    """Yield the objects under a prefix, which ends at a '/'; if there is none, the one object of that name.

    If there is none either, the objects that a pattern means: a store that cannot be listed knows braces alone.
    """
    store = open_store(source)
    if not store.can_list and not source.endswith("/"):
        for url in alternatives(source) if BRACES.search(source) else [source]:
            root, key = split_url(url)
            yield posixpath.basename(key), open_store(root).uri(key)
        return
    out.check_source(source, f"{store.url}/")
    empty = True
    for info in store.list():
        empty = False
        uri = store.uri(info.key)
        if _is_file(info) and not out.holds(uri):
            yield _item(info.key, uri)
    root, key = split_url(source)
    if empty and key:
        one = open_store(root)
        if any(info.key == key for info in islice(one.list(key), 1)):
            yield posixpath.basename(key), one.uri(key)
        elif is_pattern(source):
            yield from _pattern_items(source, out)


def _is_file(info: ObjectInfo) -> bool:
    """Return whether an object is part of a dataset: no marker of a folder, nothing hidden."""
    is_marker = info.key.endswith("/") and info.size == 0
    return not is_marker and not any(is_skipped(part) for part in info.key.split("/"))


def _pattern_items(pattern: str, out: Output) -> Iterator[Item]:
    """Yield the objects that a pattern means; `**` stands for any number of folders."""
    fixed = fixed_part(pattern)
    store = open_store(fixed)
    wanted = [one[len(fixed) :].lstrip("/").split("/") for one in alternatives(pattern)]
    for info in store.list():
        uri = store.uri(info.key)
        if _is_file(info) and not out.holds(uri) and any(matches(info.key.split("/"), each) for each in wanted):
            yield _item(info.key, uri)


def _item(key: str, uri: str) -> Item:
    if is_member(uri):
        raise SourceError(f"{uri!r} has a name that stands for a member of an archive; rename it")
    return key, uri
