"""Sorts the ids and uris of listed images outside memory."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import islice

import pyarrow as pa

from i2s_batch.parquet.sorted_rows import SpilledRows, sorted_rows

Item = tuple[str, str]  # image_id and uri
IMAGE = pa.schema([("image_id", pa.string()), ("uri", pa.string())])
_ITEMS_AT_ONCE = 8192  # Python strings take three times the memory of a table

WHAT_TO_GIVE = (
    "give a folder, a pattern, an image, an archive (.tar, .zip), a list (.txt, .csv, .json, .jsonl, .parquet) or "
    "s3://bucket/prefix"
)


def sorted_images(items: Iterable[Item]) -> SpilledRows:
    """Return image ids and uris, sorted by id."""
    waiting = iter(items)
    parts = iter(lambda: list(islice(waiting, _ITEMS_AT_ONCE)), [])
    return sorted_rows(map(image_table, parts), IMAGE)


def image_table(items: Sequence[Item]) -> pa.Table:
    """Return some items as a table."""
    return pa.table([[item[column] for item in items] for column in range(len(IMAGE))], schema=IMAGE)
