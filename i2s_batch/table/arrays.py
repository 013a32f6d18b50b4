"""Reads the latents of a run as arrays: whole, or a batch at a time for tables larger than memory."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np
import pyarrow as pa

from i2s_batch.argument_types import path_or_url, typed
from i2s_batch.errors import ConfigError
from i2s_batch.table.dataset import TableFiles, open_table
from i2s_batch.table.selection import choose, read_positions
from i2s_batch.table.shards import sorted_by_id

_READERS = 4  # shards read at once; each is some 30 MB


@dataclass(frozen=True, eq=False)
class LatentTable:
    """Holds the images with status 'ok', in the order of their ids.

    Attributes:
        ids: The ids.
        latents: float32 [N, L, w_dim], W+ latents.
        metrics: Every column of single numbers by name, [N]; a null is NaN.
        table: All columns of these rows.
    """

    ids: list[str]
    latents: np.ndarray
    metrics: dict[str, np.ndarray]
    table: pa.Table


def read_latents(out: str, columns: Sequence[str] | None = None, where: str | None = None) -> LatentTable:
    """Return the latents and metrics of a run.

    Of a run in progress, those of the images finished so far; an `UnfinishedRunWarning` says how many there are.

    Args:
        out: The output of the run, a local path or s3://bucket/prefix.
        columns: The columns that are read beside image_id and latent; None for all. The rest is not fetched.
        where: A condition in SQL, such as "psnr > 30"; see `i2s-batch query`.

    Raises:
        StorageError: No such output, no row yet, or a shard that is damaged or foreign.
        ConfigError: No such column.
        QueryError: `where` is not a condition.
    """
    return latents_in(open_table(path_or_url("out", out)), columns, where)


def latents_in(table: TableFiles, columns: Sequence[str] | None = None, where: str | None = None) -> LatentTable:
    """Return the latents and metrics of an open table as `read_latents` does."""
    chosen = choose(table, columns, where)
    with ThreadPoolExecutor(_READERS) as pool:
        parts = pool.map(
            lambda shard, at: list(read_positions(shard, at, chosen.columns)), table.shards, chosen.positions
        )
        batches = [batch for part in parts for batch in part]
    schema = table.shards[0].columns(chosen.columns)
    return _arrays(sorted_by_id(pa.Table.from_batches(batches, schema)), table.latent_shape)


def iter_latents(
    out: str, batch_size: int = 256, columns: Sequence[str] | None = None, where: str | None = None
) -> Iterator[LatentTable]:
    """Yield what `read_latents` returns, `batch_size` images at a time (fewer at the end): only they are in memory.

    The order is that of the ids as long as each shard's ids come after those of the shard before, as a run writes them.
    """
    yield from batches_in(open_table(path_or_url("out", out)), batch_size, columns, where)


def batches_in(
    table: TableFiles, batch_size: int = 256, columns: Sequence[str] | None = None, where: str | None = None
) -> Iterator[LatentTable]:
    """Yield the latents of an open table as `iter_latents` does."""
    batch_size = typed("batch_size", batch_size, int)
    if batch_size < 1:
        raise ConfigError(f"batch size is {batch_size}; it must be at least 1")
    chosen = choose(table, columns, where)
    schema = table.shards[0].columns(chosen.columns)
    for batches in _regrouped(chosen.batches(table), batch_size):
        yield _arrays(pa.Table.from_batches(batches, schema), table.latent_shape)


def _regrouped(batches: Iterable[pa.RecordBatch], size: int) -> Iterator[list[pa.RecordBatch]]:
    """Yield the same rows in groups of `size`."""
    held: list[pa.RecordBatch] = []
    room = size
    for batch in batches:
        rest = batch
        while len(rest) >= room:
            yield [*held, rest.slice(0, room)]
            rest = rest.slice(room)
            held, room = [], size
        if len(rest):
            held.append(rest)
            room -= len(rest)
    if held:
        yield held


def _arrays(table: pa.Table, latent_shape: tuple[int, int]) -> LatentTable:
    numbers = [field.name for field in table.schema if is_number(field.type)]
    return LatentTable(
        ids=table["image_id"].to_pylist(),
        latents=stacked(table["latent"]).reshape(-1, *latent_shape),
        metrics={name: table[name].to_numpy() for name in numbers},
        table=table,
    )


def is_number(data_type: pa.DataType) -> bool:
    """Return whether a column of this type holds single numbers."""
    return bool(pa.types.is_integer(data_type) or pa.types.is_floating(data_type))


def stacked(column: pa.ChunkedArray) -> np.ndarray:
    """Return a column of fixed-size lists without nulls as float32 [N, size], with one copy."""
    size = column.type.list_size
    array = np.empty((len(column), size), np.float32)
    start = 0
    for chunk in column.chunks:
        # flatten() respects the chunk's offset, which .values ignores
        array[start : start + len(chunk)] = chunk.flatten().to_numpy().reshape(len(chunk), size)
        start += len(chunk)
    return array
