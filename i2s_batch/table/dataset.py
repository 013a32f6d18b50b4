"""Presents the shards of a table as one pyarrow dataset: columns and row groups are fetched only where needed."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import pyarrow as pa
import pyarrow.dataset as ds
from pyarrow import fs

from i2s_batch.concurrency import map_ahead
from i2s_batch.errors import StorageError
from i2s_batch.parquet.arrow_files import lent_to_arrow
from i2s_batch.storage import Store, open_store
from i2s_batch.storage.local import LocalStore
from i2s_batch.table.shards import check_ours, errors_named, latent_shape
from i2s_batch.table.snapshot import NOT_OURS, Snapshot, Unfinished, existing_shards, open_snapshot

_FOOTER_READERS = 8  # footers read at once: they are small, and on S3 their cost is waiting

_FORMAT = ds.ParquetFileFormat(
    default_fragment_scan_options=ds.ParquetFragmentScanOptions(pre_buffer=True, page_checksum_verification=True)
)


@dataclass(frozen=True)
class Shard:
    """Describes one file of the table. Its whole footer, some 300 KB, is in memory only while rows are read.

    Attributes:
        key: Its key in the output.
        uri: Where the file is, for messages.
        source: Its path in `file_system`; the bytes of a file that is made of the work log.
        file_system: The file system of pyarrow.
        schema: Its columns.
        row_groups: The number of rows in each row group.
    """

    key: str
    uri: str
    source: str | pa.Buffer
    file_system: fs.FileSystem
    schema: pa.Schema
    row_groups: tuple[int, ...]

    def columns(self, names: list[str]) -> pa.Schema:
        """Return the schema of some columns."""
        return pa.schema([self.schema.field(name) for name in names])

    def fragment(self) -> ds.ParquetFileFragment:
        """Return the file for pyarrow, not opened yet."""
        return _fragment(self.source, self.file_system)

    def batches(self, groups: list[int] | None = None, **scan: Any) -> Iterator[pa.RecordBatch]:
        """Yield the rows of some row groups (None: all) in order; `scan` as `Fragment.to_batches` takes it.

        Raises:
            StorageError: The file is damaged; the message names it.
        """
        with errors_named(self.uri):
            fragment = self.fragment() if groups is None else self.fragment().subset(row_group_ids=groups)
            yield from fragment.to_batches(**scan)


def _fragment(source: str | pa.Buffer, file_system: fs.FileSystem) -> ds.ParquetFileFragment:
    return _FORMAT.make_fragment(source, file_system if isinstance(source, str) else None)


def _dataset(shards: list[Shard]) -> ds.FileSystemDataset:
    fragments = [shard.fragment() for shard in shards]
    return ds.FileSystemDataset(fragments, shards[0].schema, _FORMAT, shards[0].file_system)


class _Rescanned(ds.FileSystemDataset):
    """Drops each footer when its file has been read, which pyarrow itself keeps.

    Every scan has files of its own: a query may scan a table twice at once, and one scan must not drop what the other
    still reads (pyarrow 26 then crashes).
    """

    shards: list[Shard]

    def scanner(self, **scan: Any) -> ds.Scanner:
        """Return a scanner over new fragments of the shards."""
        return ds.Scanner.from_dataset(_dataset(self.shards), cache_metadata=False, **scan)


@dataclass(frozen=True)
class TableFiles:
    """Describes the table of a run.

    Attributes:
        url: The output of the run.
        shards: The shards in the order of their names.
        schema: The columns.
        latent_shape: L and w_dim.
        unfinished: What is missing; None for a whole table.
    """

    url: str
    shards: list[Shard]
    schema: pa.Schema
    latent_shape: tuple[int, int]
    unfinished: Unfinished | None = None

    @property
    def dataset(self) -> ds.FileSystemDataset:
        """Return all shards as one dataset."""
        first = self.shards[0]
        whole = _Rescanned([first.fragment()], first.schema, _FORMAT, first.file_system)
        whole.shards = self.shards
        return whole


def open_table(out: str, quiet: bool = False) -> TableFiles:
    """Return the table of the run at `out`, a local path or s3://bucket/prefix. The footer of every shard is read.

    Of a run in progress it has the rows finished so far, and an `UnfinishedRunWarning` says how many, unless `quiet`.

    Raises:
        StorageError: No such output, no row yet, or a shard that is damaged, foreign or of another table.
    """
    return files_of(open_snapshot(out, quiet))


def open_shards(out: str, keys: Sequence[str] | None = None) -> TableFiles:
    """Return those shards of the run at `out` that are in its table, without its work log.

    `keys`: these shards, for a process that opens what another has opened while the run is in progress; None for all
    that exist. Raises StorageError as `open_table`, and if there is no shard yet.
    """
    store = open_store(out)
    chosen = existing_shards(store) if keys is None else keys
    return files_of(Snapshot(store, tuple(chosen), {}, None))


def files_of(snapshot: Snapshot) -> TableFiles:
    """Return the table of a snapshot; the footer of every shard is read."""
    store = snapshot.store
    file_system, path = _file_system(snapshot)

    def opened(key: str) -> Shard:
        uri, held = store.uri(key), snapshot.held.get(key)
        source = path(key) if held is None else _arrows_own(held)
        with errors_named(uri):
            fragment = _fragment(source, file_system)
            fragment.ensure_complete_metadata()
            check_ours(fragment.physical_schema.metadata or {}, uri)
            sizes = tuple(group.num_rows for group in fragment.row_groups)
        return Shard(key, uri, source, file_system, fragment.physical_schema, sizes)

    shards: list[Shard] = []
    for shard in map_ahead(opened, snapshot.keys, _FOOTER_READERS):
        schema = shards[0].schema if shards else shard.schema
        if shard.schema != schema or latent_shape(shard.schema) != latent_shape(schema):
            raise StorageError(f"{shard.uri!r} has other columns than {shards[0].uri!r}; {NOT_OURS}")
        shards.append(replace(shard, schema=schema))
    shape = latent_shape(shards[0].schema)
    return TableFiles(store.url, shards, shards[0].schema, shape, snapshot.unfinished)


def _arrows_own(data: bytes) -> pa.Buffer:
    """Return a copy in memory of Arrow's own, which its threads release without Python (see `parquet.arrow_files`)."""
    sink = pa.BufferOutputStream()
    sink.write(data)
    return sink.getvalue()


def check_whole(table: TableFiles) -> None:
    """Read everything; raise StorageError that names the first damaged shard, where a fault does not name its file."""
    for shard in table.shards:
        for _ in shard.batches():
            pass


def _file_system(snapshot: Snapshot) -> tuple[fs.FileSystem, Callable[[str], str]]:
    """Return a file system of pyarrow over the output, and a function from a key to its path there."""
    store = snapshot.below
    if isinstance(store, LocalStore):
        return fs.LocalFileSystem(), store.uri  # Arrow's own file system reads without Python's interpreter lock
    return fs.PyFileSystem(_StoreFiles(store)), lambda key: key


class _StoreFiles(fs.FileSystemHandler):
    """Presents a store as a read-only file system. Paths are keys."""

    def __init__(self, store: Store) -> None:
        self._store = store

    def get_type_name(self) -> str:
        """Return the name of this kind of file system."""
        return "i2s_batch"

    def normalize_path(self, path: str) -> str:
        """Return the path as it is."""
        return path

    def open_input_file(self, path: str) -> pa.PythonFile:
        """Open a file for random access."""
        return pa.PythonFile(lent_to_arrow(self._store.open(path)), mode="r")

    def open_input_stream(self, path: str) -> pa.PythonFile:
        """Open a file for sequential reading."""
        return self.open_input_file(path)

    def _refuse(self, *_: Any, **__: Any) -> Any:
        raise NotImplementedError("this file system is for reading shards whose names are known")

    get_file_info = get_file_info_selector = create_dir = delete_dir = delete_dir_contents = _refuse
    delete_root_dir_contents = delete_file = move = copy_file = open_output_stream = open_append_stream = _refuse
