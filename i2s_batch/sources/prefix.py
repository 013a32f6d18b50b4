"""Lists the images of a SOURCE that is a prefix of a store, such as s3://bucket/prefix."""

from __future__ import annotations

import posixpath
from collections.abc import Iterator
from itertools import islice

from i2s_batch.parquet.sorted_rows import SpilledRows
from i2s_batch.sources.apart import Output
from i2s_batch.sources.items import Item, sorted_images
from i2s_batch.sources.options import SourceOptions
from i2s_batch.sources.walk import is_skipped
from i2s_batch.storage import is_remote, open_store, split_url


def below_prefix(source: str, out: Output, options: SourceOptions) -> SpilledRows | None:
    """Return the objects below a prefix of a store; None for a local SOURCE."""
    return sorted_images(_items(source, out)) if is_remote(source) else None


def _items(source: str, out: Output) -> Iterator[Item]:
    """Yield the objects under a prefix, which ends at a '/'; if there is none, the one object of that name."""
    store = open_store(source)
    if not store.can_list and not source.endswith("/"):
        root, key = split_url(source)
        yield posixpath.basename(key), open_store(root).uri(key)
        return
    out.check_source(source, f"{store.url}/")
    empty = True
    for info in store.list():
        empty = False
        uri = store.uri(info.key)
        folder_marker = info.key.endswith("/") and info.size == 0
        if folder_marker or any(is_skipped(part) for part in info.key.split("/")):
            continue
        if not out.holds(uri):
            yield info.key, uri
    root, key = split_url(source)
    if empty and key:
        one = open_store(root)
        if any(info.key == key for info in islice(one.list(key), 1)):
            yield posixpath.basename(key), one.uri(key)
