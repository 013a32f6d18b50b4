"""Finds the tables that are named by TABLE:ID alone, beside those that a command is given."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from contextlib import suppress

from i2s_batch.errors import StorageError
from i2s_batch.output.ownership import find_record
from i2s_batch.storage import open_store
from i2s_batch.table.latent_reader import LatentIndex
from i2s_batch.table.table_ids import readings


def other_tables(tables: Sequence[str], names: Iterable[str]) -> tuple[str, ...]:
    """Return the outputs that `names` mention as TABLE:ID and that are not among `tables`.

    A name that is an id of one of the tables, or means one of them, mentions no other.
    """
    possible = [name for name in names if next(readings(name), None) is not None]
    if not possible:
        return ()
    index, found = LatentIndex(tables), {}
    for name in possible:
        if not index.holds(name):
            found |= {url: None for table, _ in readings(name) if (url := _output_at(table)) not in (None, *tables)}
    return tuple(url for url in found if url is not None)


def _output_at(table: str) -> str | None:
    with suppress(StorageError):
        store = open_store(table)
        return store.url if find_record(store) is not None else None
    return None
