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
    index = LatentIndex(tables)
    found: dict[str, None] = {}  # in order
    for name in possible:
        tables_named = () if index.holds(name) else (_output_at(table) for table, _ in readings(name))
        found |= {url: None for url in tables_named if url is not None and url not in tables}
    return tuple(found)


def _output_at(table: str) -> str | None:
    with suppress(StorageError):
        store = open_store(table)
        return store.url if find_record(store) is not None else None
    return None
