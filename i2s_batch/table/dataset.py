"""Presents the shards of a table as one pyarrow dataset: columns and row groups are fetched only where needed."""

from __future__ import annotations

from collections.abc import Callable, Iterator
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
from i2s_batch.table.shards import NOT_OURS, check_ours, errors_named, existing_shards, latent_shape

_FOOTER_READERS = 8  # footers read at once: they are small, and on S3 their cost is waiting

_FORMAT = ds.ParquetFileFormat(
    default_fragment_scan_options=ds.ParquetFragmentScanOptions(pre_buffer=True, page_checksum_verification=True)
)


@dataclass(frozen=True)
class Shard:
    """Describes one file of the table. Its whole footer, some 300 KB, is in memory only while rows are read.

    Attributes:
        uri: Where the file is, for messages.
        path: Its path in `file_system`.
        file_system: The file system of pyarrow.
        schema: Its columns.
        row_groups: The number of rows in each row group.
    """

    uri: str
    path: str
    file_system: fs.FileSystem
    schema: pa.Schema
    row_groups: tuple[int, ...]

    def columns(self, names: list[str]) -> pa.Schema:
        """Return the schema of some columns."""
        return pa.schema([self.schema.field(name) for name in names])

    def fragment(self) -> ds.ParquetFileFragment:
        """Return the file for pyarrow, not opened yet."""
        return _FORMAT.make_fragment(self.path, self.file_system)

    def batches(self, groups: list[int] | None = None, **scan: Any) -> Iterator[pa.RecordBatch]:
        """Yield the rows of some row groups (None: all) in order; `scan` as `Fragment.to_batches` takes it.

        Raises:
            StorageError: The file is damaged; the message names it.
        """
        with errors_named(self.uri):
            fragment = self.fragment() if groups is None else self.fragment().subset(row_group_ids=groups)
            yield from fragment.to_batches(**scan)


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
    """

    url: str
    shards: list[Shard]
    schema: pa.Schema
    latent_shape: tuple[int, int]

    @property
    def dataset(self) -> ds.FileSystemDataset:
        """Return all shards as one dataset."""
        first = self.shards[0]
        whole = _Rescanned([first.fragment()], first.schema, _FORMAT, first.file_system)
        whole.shards = self.shards
        return whole


def open_table(out: str) -> TableFiles:
    """Return the table of the run at `out`, a local path or s3://bucket/prefix. The footer of every shard is read.

    Raises:
        StorageError: No such output, no shard yet, or a shard that is damaged, foreign or of another table.
    """
    store = open_store(out)
    file_system, path = _file_system(store)
    keys = existing_shards(store)

    def opened(key: str) -> Shard:
        uri = store.uri(key)
        with errors_named(uri):
            fragment = _FORMAT.make_fragment(path(key), file_system)
            fragment.ensure_complete_metadata()
            check_ours(fragment.physical_schema.metadata or {}, uri)
            sizes = tuple(group.num_rows for group in fragment.row_groups)
        return Shard(uri, path(key), file_system, fragment.physical_schema, sizes)

    shards: list[Shard] = []
    for shard in map_ahead(opened, keys, _FOOTER_READERS):
        schema = shards[0].schema if shards else shard.schema
        if shard.schema != schema or latent_shape(shard.schema) != latent_shape(schema):
            raise StorageError(f"{shard.uri!r} has other columns than {shards[0].uri!r}; {NOT_OURS}")
        shards.append(replace(shard, schema=schema))
    return TableFiles(store.url, shards, shards[0].schema, latent_shape(shards[0].schema))


def check_whole(table: TableFiles) -> None:
    """Read everything; raise StorageError that names the first damaged shard, where a fault does not name its file."""
    for shard in table.shards:
        for _ in shard.batches():
            pass


def _file_system(store: Store) -> tuple[fs.FileSystem, Callable[[str], str]]:
    """Return a file system of pyarrow over `store`, and a function from a key to its path there."""
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
