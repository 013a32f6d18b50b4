"""Reading a run's table back: `read_latents` for the vectors, `read_table` for every row."""

from __future__ import annotations

import json
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from i2s_batch.errors import StorageError
from i2s_batch.records import SCHEMA_VERSION, STATUS_OK
from i2s_batch.storage.layout import RunLayout
from i2s_batch.storage.objects import Store, open_store
from i2s_batch.storage.table import META_LATENT_SHAPE, META_SCHEMA_VERSION

_READERS = 4  # shards fetched at once; each is some 30 MB

_NOT_OURS = "it was not written by i2s-batch; move it out of latents/"


@dataclass(frozen=True, eq=False)
class LatentTable:
    """The pictures with status 'ok', in the order of their ids.

    latents: float32 [N, L, w_dim], W+ codes.
    metrics: every column of single numbers by name, [N]; a null is NaN.
    table: all columns of these rows.
    """

    ids: list[str]
    latents: np.ndarray
    metrics: dict[str, np.ndarray]
    table: pa.Table


def read_latents(out: str) -> LatentTable:
    """The latents and metrics of the run at `out`, a local path or s3://bucket/prefix.

    Of a run under way, the shards written so far. Raises StorageError: no such output, no shard yet, a shard
    that is damaged or foreign.
    """
    table = read_table(out)
    layers, w_dim = _latent_shape(table)
    done = table.filter(pc.equal(table["status"], STATUS_OK))
    numbers = [field.name for field in done.schema if _is_number(field.type)]
    return LatentTable(
        ids=done["image_id"].to_pylist(),
        latents=_stacked(done["latent"], out).reshape(-1, layers, w_dim),
        metrics={name: done[name].to_numpy() for name in numbers},
        table=done,
    )


def read_table(out: str, columns: list[str] | None = None) -> pa.Table:
    """Every row of the run at `out`, whatever its status, in the order of the ids; `columns`: None for all, else
    with `image_id` among them, and nothing but them is fetched. Errors as `read_latents`."""
    store = open_store(out)
    keys = _shard_keys(store)
    if not keys:
        raise StorageError(_why_no_shards(store))
    with ThreadPoolExecutor(_READERS) as pool:
        shards = list(pool.map(lambda key: read_shard(store, key, columns), keys))
    for key, shard in zip(keys, shards, strict=True):
        if shard.schema != shards[0].schema or _latent_shape(shard) != _latent_shape(shards[0]):
            raise StorageError(f"{store.uri(key)!r} has other columns than {store.uri(keys[0])!r}; {_NOT_OURS}")
    table = pa.concat_tables(shards)
    order = pc.sort_indices(table["image_id"])
    in_order = pc.all(pc.equal(order, np.arange(len(order), dtype=np.uint64))).as_py()
    return table if in_order else table.take(order)


def _is_number(kind: pa.DataType) -> bool:
    return pa.types.is_integer(kind) or pa.types.is_floating(kind)


def _shard_keys(store: Store) -> list[str]:
    keys = [info.key for info in store.list(RunLayout.shards_prefix) if info.key.endswith(".parquet")]
    for key in keys:
        if RunLayout.shard_index(key) is None:
            raise StorageError(f"{store.uri(key)!r} is no shard of this table; {_NOT_OURS}")
    return keys


def _why_no_shards(store: Store) -> str:
    rows = sum(RunLayout.row_index(info.key) is not None for info in store.list(RunLayout.all_rows_prefix))
    if rows or any(info.key == RunLayout.run_json for info in store.list(RunLayout.run_json)):
        return (
            f"{store.url!r} is an unfinished run without a shard yet ({rows} rows in its work log); "
            "run its embed command again to go on"
        )
    return f"{store.url!r} holds no output of i2s-batch; give the OUT of an embed run"


def read_shard(store: Store, key: str, columns: list[str] | None = None) -> pa.Table:
    """One shard of a table; `columns`: None for all. Raises StorageError if it is damaged or foreign."""
    uri = store.uri(key)
    try:
        # All of a shard is one request; some columns are the requests for their parts, which pre_buffer joins.
        source = pa.BufferReader(store.get(key)) if columns is None else pa.PythonFile(store.open(key), "r")
        with pq.ParquetFile(source, page_checksum_verification=True, pre_buffer=True) as file:
            table = file.read(columns)
    except (pa.ArrowException, OSError) as error:
        reason = " ".join(str(error).split())
        raise StorageError(f"{uri!r} is damaged ({reason}); delete it and run its embed command again") from error
    metadata = table.schema.metadata or {}
    version = metadata.get(META_SCHEMA_VERSION.encode())
    if version is None:
        raise StorageError(f"{uri!r} is a foreign Parquet file; {_NOT_OURS}")
    if version != str(SCHEMA_VERSION).encode():
        raise StorageError(
            f"{uri!r} has schema version {version.decode()}; this program reads {SCHEMA_VERSION}; "
            "use the version that wrote it"
        )
    return table


def _latent_shape(table: pa.Table) -> tuple[int, int]:
    layers, w_dim = json.loads(table.schema.metadata[META_LATENT_SHAPE.encode()])
    return layers, w_dim


def _stacked(column: pa.ChunkedArray, out: str) -> np.ndarray:
    """A column of fixed-size lists as float32 [N, size], one copy."""
    if column.null_count:
        raise StorageError(f"{out!r} has {column.null_count} rows with status 'ok' but no latent; run `verify`")
    stacked = np.empty((len(column), column.type.list_size), np.float32)
    start = 0
    for chunk in column.chunks:
        # flatten() minds the chunk's offset, which .values does not
        stacked[start : start + len(chunk)] = chunk.flatten().to_numpy().reshape(len(chunk), -1)
        start += len(chunk)
    return stacked
