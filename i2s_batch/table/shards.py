"""Reads the rows of a run's table, whatever their status. `table.arrays` reads latents as arrays."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from i2s_batch.errors import StorageError, UnknownImageError
from i2s_batch.parquet.arrow_files import lent_to_arrow
from i2s_batch.parquet.row_groups import RowGroupCache, RowGroups
from i2s_batch.schema.columns import READABLE_VERSIONS, SCHEMA_VERSION
from i2s_batch.schema.metadata import (
    META_LATENT_SHAPE,
    META_SCHEMA_VERSION,
    schema_version_of,
    table_settings,
    texts_of,
)
from i2s_batch.schema.row import Row
from i2s_batch.schema.settings import TableSettings
from i2s_batch.storage import Store
from i2s_batch.table.near_ids import not_in
from i2s_batch.table.snapshot import NOT_OURS, Snapshot, open_snapshot

_SHAPE = re.compile(rb"\[[1-9]\d{0,5}, ?[1-9]\d{0,5}\]")  # JSON [L, w_dim]
_READABLE = {str(version).encode() for version in READABLE_VERSIONS}
_READERS = 4  # shards fetched at once; each is some 30 MB


def read_table(out: str, columns: list[str] | None = None) -> pa.Table:
    """Return every row of the run at `out`, whatever its status, in the order of the ids.

    Of a run in progress, the rows finished so far; an `UnfinishedRunWarning` says how many.

    Args:
        out: The output of a run.
        columns: None for all, else with `image_id` among them; nothing but them is fetched.

    Raises:
        StorageError: No such output, no row yet, or a shard that is damaged or foreign.
    """
    return table_of(open_snapshot(out), columns)


def table_of(snapshot: Snapshot, columns: list[str] | None = None, max_shards: int | None = None) -> pa.Table:
    """Return every row of a snapshot as `read_table` does.

    `max_shards`: at most so many shards are read, spread evenly over the run; None for all.
    """
    store, keys = snapshot.store, snapshot.keys
    if max_shards is not None and len(keys) > max_shards:
        keys = tuple(keys[i * len(keys) // max_shards] for i in range(max_shards))
    with ThreadPoolExecutor(_READERS) as pool:
        shards = list(pool.map(lambda key: read_shard(store, key, columns), keys))
    for key, shard in zip(keys, shards, strict=True):
        if shard.schema != shards[0].schema or latent_shape(shard.schema) != latent_shape(shards[0].schema):
            raise StorageError(f"{store.uri(key)!r} has other columns than {store.uri(keys[0])!r}; {NOT_OURS}")
    return sorted_by_id(pa.concat_tables(shards))


def sorted_by_id(table: pa.Table) -> pa.Table:
    """Return the rows by image_id; the table itself if they are sorted already."""
    order = pc.sort_indices(table["image_id"])
    in_order = pc.all(pc.equal(order, np.arange(len(order), dtype=np.uint64))).as_py()
    return table if in_order else table.take(order)


def read_rows(out: str, image_ids: Sequence[str]) -> list[Row]:
    """Return the rows of some images, all columns, in the order of `image_ids`; the rest of the table is not fetched.

    Raises:
        StorageError: As `read_table`, or the table does not hold an id.
    """
    return rows_of_ids(open_snapshot(out, quiet=True), image_ids)


def rows_of_ids(snapshot: Snapshot, image_ids: Sequence[str]) -> list[Row]:
    """Return the rows of some images of a snapshot as `read_rows` does."""
    store = snapshot.store
    wanted = pa.array(sorted(set(image_ids)), pa.string())
    with ThreadPoolExecutor(_READERS) as pool:
        parts = pool.map(lambda key: _rows_in_shard(store, key, wanted), snapshot.keys)
        rows = {row.image_id: row for part in parts for row in part}
    missing = [image_id for image_id in image_ids if image_id not in rows]
    if missing:
        raise _unknown_image(snapshot, missing)
    return [rows[image_id] for image_id in image_ids]


def _unknown_image(snapshot: Snapshot, missing: Sequence[str]) -> UnknownImageError:
    store, ids = snapshot.store, list[str]()
    for key in snapshot.keys:
        with open_shard(store, key, whole=False) as file:
            ids += file.read(["image_id"], use_threads=False)["image_id"].to_pylist()
    more = f" ({len(missing)} such ids)" if len(missing) > 1 else ""
    return UnknownImageError(not_in(missing[0], [store.url], ids) + more)


def row_of_shard(store: Store, key: str, image_id: str) -> Row:
    """Return one row of one shard, whatever the state of the others.

    Raises:
        StorageError: The row does not exist, or is damaged.
    """
    rows = _rows_in_shard(store, key, pa.array([image_id]))
    if not rows:
        raise StorageError(f"{store.uri(key)!r} holds no row of image {image_id!r}")
    return rows[0]


def _rows_in_shard(store: Store, key: str, wanted: pa.Array) -> list[Row]:
    """Return the wanted rows of one shard, from the row groups that may hold one: a shard is sorted by image_id."""
    with open_shard(store, key, whole=False) as file:
        column_index = file.schema_arrow.get_field_index("image_id")
        found = []
        for group in range(file.num_row_groups):
            ids = file.metadata.row_group(group).column(column_index).statistics
            if ids is not None and ids.has_min_max and not _any_between(wanted, ids.min, ids.max):
                continue
            rows = file.read_row_group(group, use_threads=False)
            found += rows_of(rows.filter(pc.is_in(rows["image_id"], wanted)))
    return found


def rows_of(table: pa.Table) -> list[Row]:
    """Return the rows of an Arrow table that has all columns, and the metadata of its shard."""
    version = schema_version_of(table.schema.metadata)
    return [Row.of_cells(cells, version) for cells in table.to_pylist()]


def _any_between(wanted: pa.Array, low: str, high: str) -> bool:
    in_range = pc.and_(pc.greater_equal(wanted, low), pc.less_equal(wanted, high))
    return bool(pc.any(in_range).as_py())


def read_shard(store: Store, key: str, columns: list[str] | None = None) -> pa.Table:
    """Return one shard of a table; `columns`: None for all.

    Raises:
        StorageError: It is damaged or foreign.
    """
    with open_shard(store, key, whole=columns is None) as file:
        table: pa.Table = file.read(columns, use_threads=False)
    return table


class ShardRows(RowGroups):
    """Reads the rows of a shard by their positions; caches the most recently used row groups."""

    def __init__(self, store: Store, key: str, columns: Sequence[str] | None, cache: RowGroupCache) -> None:
        super().__init__(store, key, columns, cache, "delete it and run its embed command again")
        check_ours(self.metadata, store.uri(key))


def parse_shard(data: bytes, uri: str) -> pa.Table:
    """Return the rows in the bytes of a shard; errors as `read_shard`, with the name `uri`."""
    with errors_named(uri), pq.ParquetFile(pa.BufferReader(data), page_checksum_verification=True) as file:
        check_ours(file.schema_arrow.metadata or {}, uri)
        table: pa.Table = file.read(use_threads=False)
    return table


def read_statuses(store: Store, key: str) -> np.ndarray:
    """Return the column `status` of a shard, object [rows]; errors as `read_shard`.

    A row group whose statistics show that all of it has one status, as nearly all do, is not read: on S3 the footer
    then is the only request.
    """
    parts = []
    with open_shard(store, key, whole=False) as file:
        column_index = file.schema_arrow.get_field_index("status")
        for number in range(file.num_row_groups):
            group = file.metadata.row_group(number)
            facts = group.column(column_index).statistics
            if facts is not None and facts.has_min_max and facts.min == facts.max and facts.null_count == 0:
                parts.append(np.full(group.num_rows, facts.min, object))
            else:
                rows = file.read_row_group(number, ["status"], use_threads=False)
                parts.append(rows["status"].to_numpy())
    return np.concatenate(parts) if parts else np.empty(0, object)


@contextmanager
def open_shard(store: Store, key: str, whole: bool) -> Iterator[pq.ParquetFile]:
    """Open a shard that is checked to be ours; errors while it is read carry its name."""
    uri = store.uri(key)
    # A whole shard is one request to S3; for a part of it, pre_buffer joins the requests for its columns.
    with (
        errors_named(uri),
        pa.BufferReader(store.get(key)) if whole else lent_to_arrow(store.open(key)) as source,
        pq.ParquetFile(source, page_checksum_verification=True, pre_buffer=not whole) as file,
    ):
        check_ours(file.schema_arrow.metadata or {}, uri)
        yield file


@contextmanager
def errors_named(uri: str) -> Iterator[None]:
    """Raise what goes wrong while a shard is read with the shard's name."""
    try:
        yield
    except (pa.ArrowException, OSError) as error:
        reason = " ".join(str(error).split())
        raise StorageError(f"{uri!r} is damaged ({reason}); delete it and run its embed command again") from error


def check_ours(metadata: dict[bytes, bytes], uri: str) -> None:
    """Raise StorageError unless these are the file metadata of a shard that this program can read."""
    version = metadata.get(META_SCHEMA_VERSION.encode())
    if version is None:
        raise StorageError(f"{uri!r} is a Parquet file of another program; {NOT_OURS}")
    if version not in _READABLE:
        raise StorageError(
            f"{uri!r} has schema version {version.decode(errors='replace')}; this program reads 1 to "
            f"{SCHEMA_VERSION}; use the version that wrote it"
        )
    shape = metadata.get(META_LATENT_SHAPE.encode(), b"")
    if not _SHAPE.fullmatch(shape):
        raise StorageError(
            f"{uri!r} is damaged (its metadata give a latent the shape {shape.decode(errors='replace')!r}); "
            "delete it and run its embed command again"
        )


def recorded_settings(schema: pa.Schema, url: str) -> TableSettings:
    """Return what the metadata of a table's shards record about its run.

    Raises:
        StorageError: They are damaged; the message has the name `url`.
    """
    try:
        return table_settings(texts_of(schema.metadata))
    except ValueError as error:
        raise StorageError(f"{url!r}: the metadata of a shard are damaged ({error}); run i2s-batch verify") from error


def latent_shape(schema: pa.Schema) -> tuple[int, int]:
    """Return L and w_dim of the latents in a shard of ours."""
    layers, w_dim = json.loads(schema.metadata[META_LATENT_SHAPE.encode()])
    return layers, w_dim
