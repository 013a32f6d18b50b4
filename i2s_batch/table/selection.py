"""Selects rows of a table: their positions, and their columns in the order of the shards."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from i2s_batch.argument_types import path_or_url, typed
from i2s_batch.errors import ConfigError, StorageError
from i2s_batch.schema.columns import STATUS_OK
from i2s_batch.table.dataset import Shard, TableFiles, open_table
from i2s_batch.table.sql import check_condition, run_query


@dataclass(frozen=True)
class ChosenRows:
    """Lists rows with status 'ok', by the shard that holds them. Holds no rows: it is small and can be pickled.

    Attributes:
        out: Where the table is.
        positions: For each shard the positions of the rows in it, ascending, int64.
        columns: The columns that are read of them, `image_id` and `latent` first.
    """

    out: str
    positions: list[np.ndarray]
    columns: list[str]

    def __len__(self) -> int:
        return sum(map(len, self.positions))

    @property
    def starts(self) -> np.ndarray:
        """Return the number of the first row of each shard, and of one past the last: int64 [shards + 1]."""
        return np.cumsum([0, *map(len, self.positions)])

    def part(self, start: int, stop: int) -> ChosenRows:
        """Return the rows with the numbers `start` to `stop`."""
        firsts = self.starts[:-1]
        positions = [p[max(0, start - f) : max(0, stop - f)] for p, f in zip(self.positions, firsts, strict=True)]
        return ChosenRows(self.out, positions, self.columns)

    def batches(self, table: TableFiles) -> Iterator[pa.RecordBatch]:
        """Yield the rows in order, a row group or a part of one at a time."""
        for shard, positions in zip(table.shards, self.positions, strict=True):
            yield from read_positions(shard, positions, self.columns)


def choose(table: TableFiles, columns: Sequence[str] | None, where: str | None) -> ChosenRows:
    """Return the rows with status 'ok' for which `where` holds, a condition in SQL as `query` takes them.

    `columns`: those that are read beside image_id and latent; None for all.

    Raises:
        ConfigError: There is no such column.
        QueryError: `where` is not a condition.
    """
    columns = typed("columns", columns, Sequence[str] | None)
    where = typed("where", where, str | None)
    for name in columns or ():
        if name not in table.schema.names:
            raise ConfigError(f"the table has no column {name!r}; it has {', '.join(table.schema.names)}")
    wanted = ["image_id", "latent", *(table.schema.names if columns is None else columns)]
    if where is not None:
        check_condition(where)
    ids = None if where is None else _ids(table, where)
    return ChosenRows(table.url, [_positions(shard, ids) for shard in table.shards], list(dict.fromkeys(wanted)))


def chosen_ids(out: str, where: str) -> list[str]:
    """Return the images of the table at `out` with status 'ok' for which `where` holds. Errors as `choose`.

    Nothing is said of a table that lacks rows.
    """
    table = open_table(out, quiet=True)
    check_condition(where)
    ids: list[str] = _ids(table, where, f" AND status = '{STATUS_OK}'").to_pylist()
    return ids


def _ids(table: TableFiles, where: str, more: str = "") -> pa.Array:
    """Return the images for which `where` holds, which was checked; `more` follows it."""
    query = f"SELECT image_id FROM latents WHERE (\n{where}\n){more}"  # the line break ends a comment in `where`
    with run_query(table, query) as found:
        ids = [batch.column(0) for batch in found.batches]
    return pa.concat_arrays(ids) if ids else pa.array([], pa.string())


def _positions(shard: Shard, ids: pa.Array | None) -> np.ndarray:
    rows = pa.Table.from_batches(shard.batches(columns=["image_id", "status"]), shard.columns(["image_id", "status"]))
    chosen = pc.equal(rows["status"], STATUS_OK)
    if ids is not None:
        chosen = pc.and_(chosen, pc.is_in(rows["image_id"], ids))
    return np.flatnonzero(chosen.to_numpy())


def read_positions(shard: Shard, positions: np.ndarray, columns: list[str]) -> Iterator[pa.RecordBatch]:
    """Yield the rows at `positions` (ascending) of a shard, from the row groups that hold one.

    Raises:
        StorageError: A row has no latent.
    """
    if not len(positions):
        return
    sizes = shard.row_groups
    stops = np.cumsum(sizes)
    groups = np.unique(np.searchsorted(stops, positions, side="right"))
    kept = np.isin(np.arange(len(sizes)), groups)
    skipped = np.cumsum(np.where(kept, 0, sizes))  # number of rows in skipped groups, up to each group
    wanted = positions - skipped[np.searchsorted(stops, positions, side="right")]
    start = 0
    for batch in shard.batches(groups=groups.tolist(), columns=columns, batch_readahead=2, fragment_readahead=1):
        low, high = np.searchsorted(wanted, (start, start + len(batch)))
        rows = batch.take(pa.array(wanted[low:high] - start))
        if rows["latent"].null_count:
            lost = rows["image_id"].filter(rows["latent"].is_null())[0].as_py()
            raise StorageError(f"{shard.uri!r}: {lost!r} has status 'ok' but no latent; run i2s-batch verify")
        start += len(batch)
        if len(rows):
            yield rows


def open_chosen(out: str, columns: Sequence[str] | None, where: str | None) -> tuple[TableFiles, ChosenRows]:
    """Return the table at `out`, and the rows that are chosen from it."""
    table = open_table(path_or_url("out", out))
    return table, choose(table, columns, where)
